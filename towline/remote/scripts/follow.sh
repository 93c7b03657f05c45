#!/bin/sh
# follow.sh RUN EVENTS OUTPUT: sends what the runner writes until it has ended. RUN is the run's folder, EVENTS and
# OUTPUT are the byte offsets to begin at in its files `events` and `output`. Changes nothing.
# Prints frames: `e SIZE` and `o SIZE` head that many bytes of events and of output; `k` keeps the connection alive;
# `x`: the runner is gone without a result; `z`: it has ended, and everything has been sent.
set -u
cd "$1" || exit 1
events=$2 output=$3 quiet=0 missed=0

send_new() { # KIND FILE OFFSET: what is behind the offset, its size in $sent. 1: nothing
    size=$(wc -c <"$2" 2>/dev/null || echo 0)
    sent=$((size - $3))
    [ "$sent" -gt 0 ] || { sent=0; return 1; }
    printf '%s %d\n' "$1" "$sent"
    tail -c "+$(($3 + 1))" "$2" | head -c "$sent"
}

send_all_new() { # 1: nothing
    send_new o output "$output"; output=$((output + sent)) total=$sent
    send_new e events "$events"; events=$((events + sent)) total=$((total + sent))
    [ "$total" -gt 0 ]
}

# Until it has begun it may still be the shell that starts it. A process that has ended and that nobody waited for yet
# has an empty command line.
runner_is_running() {
    words=$({ tr '\0' ' ' <"/proc/$(cat pid)/cmdline"; } 2>/dev/null)
    case $words in *runner.sh*) ;; '') return 1 ;; *) [ ! -s events ] ;; esac
}

pause=0.1
sleep 0.0 2>/dev/null || pause=1     # not every sleep takes fractions
while :; do
    ended=no
    if [ -s result ]; then ended=yes
    elif [ ! -s pid ] || runner_is_running; then missed=0
    else missed=$((missed + 1)); [ "$missed" -lt 2 ] || [ -s result ] || ended=gone; fi
    if send_all_new; then quiet=0; else quiet=$((quiet + 1)); fi
    case $ended in
        yes) echo z; exit 0 ;;
        gone) echo x; exit 0 ;;
    esac
    [ $((quiet % 10)) -ne 9 ] || echo k        # a reader that is gone shows as SIGPIPE
    sleep $pause
done
