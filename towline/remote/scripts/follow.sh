#!/bin/sh
# follow.sh RUN EVENTS OUTPUT: what the runner of folder RUN writes, from these byte offsets on, until it has ended.
# Frames: `e SIZE` and `o SIZE` head that many bytes of events and of output; `k` says the line lives; `x` that the
# runner is gone without a result; `z` that it ended and all has been said.
set -u
cd "$1" || exit 1
events=$2 output=$3 quiet=0 missed=0

more() { # KIND FILE OFFSET: sends what is new, leaves its size in $sent
    size=$(wc -c <"$2" 2>/dev/null || echo 0)
    sent=$((size - $3))
    [ "$sent" -gt 0 ] || { sent=0; return 1; }
    printf '%s %d\n' "$1" "$sent"
    tail -c "+$(($3 + 1))" "$2" | head -c "$sent"
}

look() {
    more o output "$output"; output=$((output + sent)) some=$sent
    more e events "$events"; events=$((events + sent)) some=$((some + sent))
    [ "$some" -gt 0 ]
}

# Until it has begun it may still be the shell that starts it; what nobody waited for yet has no words any more.
runner_lives() {
    words=$({ tr '\0' ' ' <"/proc/$(cat pid)/cmdline"; } 2>/dev/null)
    case $words in *runner.sh*) ;; '') return 1 ;; *) [ ! -s events ] ;; esac
}

pause=0.1
sleep 0.0 2>/dev/null || pause=1     # not every sleep takes fractions
while :; do
    done=no
    if [ -s result ]; then done=yes
    elif [ ! -s pid ] || runner_lives; then missed=0
    else missed=$((missed + 1)); [ "$missed" -lt 2 ] || [ -s result ] || done=gone; fi
    if look; then quiet=0; else quiet=$((quiet + 1)); fi
    case $done in
        yes) echo z; exit 0 ;;
        gone) echo x; exit 0 ;;
    esac
    [ $((quiet % 10)) -ne 9 ] || echo k        # a reader that is gone shows as SIGPIPE
    sleep $pause
done
