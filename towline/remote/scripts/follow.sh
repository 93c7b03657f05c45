#!/bin/sh
# follow.sh RUN EVENTS OUTPUT: sends what the runner writes until it has ended. RUN is the run's folder, EVENTS and
# OUTPUT are the byte offsets to begin at in its files `events` and `output`. Changes nothing.
# Prints frames: `e SIZE` and `o SIZE` head that many bytes of events and of output; `k` keeps the connection alive;
# `x`: the runner is gone without a result; `z`: it has ended, and everything has been sent.
# While nothing happens it starts one process, the `sleep`, for each look.
set -u
LC_ALL=C        # lengths are bytes
cd "$1" || exit 1
events=$2 output=$3 quiet=0 missed=0 looked=0 part=''

send_new() { # KIND FILE OFFSET: what is behind the offset, its size in $sent. 1: nothing
    size=$(wc -c <"$2" 2>/dev/null || echo 0)
    sent=$((size - $3))
    [ "$sent" -gt 0 ] || { sent=0; return 1; }
    printf '%s %d\n' "$1" "$sent"
    tail -c "+$(($3 + 1))" "$2" | head -c "$sent"
}

send_output() { looked=0; send_new o output "$output"; output=$((output + sent)); }

# What is there at first goes by its size: after a power cut it may hold bytes that `read` takes away.
send_first() {
    send_output
    send_new e events "$events"; events=$((events + sent))
    exec 3<events
    { dd bs=65536 count=$((events / 65536)); dd bs=1 count=$((events % 65536)); } <&3 >/dev/null 2>&1
}

# Then line by line: one that is only half there yet is kept. A step's line tells how much output there is before it.
send_events() { # 1: none
    found=1
    while read -r line <&3; do
        line=$part$line part='' found=0
        case $line in
            *'"output":"'*)
                size=${line##*'"output":"'} size=${size%%\"*}
                case $size in '' | *[!0-9]*) ;; *) [ "$size" -le "$output" ] || send_output ;; esac ;;
        esac
        printf 'e %d\n%s\n' $((${#line} + 1)) "$line"
    done
    part=$part$line
    return "$found"
}

# Until it has begun it may still be the shell that starts it. A process that has ended and that nobody waited for yet
# has an empty command line.
runner_is_running() {
    words='' process=''
    read -r process <pid
    { read -r words <"/proc/$process/cmdline"; } 2>/dev/null
    case $words in *runner.sh*) ;; '') return 1 ;; *) [ ! -s events ] ;; esac
}

pause=0.1
sleep 0.0 2>/dev/null || pause=1     # not every sleep takes fractions
until [ -e events ] || [ -s result ] || [ "$quiet" -ge 50 ]; do quiet=$((quiet + 1)); sleep $pause; done
[ -e events ] || { [ ! -s result ] || { echo z; exit 0; }; echo x; exit 0; }
quiet=0
IFS=''
send_first
while :; do
    ended=no
    if [ -s result ]; then ended=yes
    elif [ ! -s pid ] || runner_is_running; then missed=0
    else missed=$((missed + 1)); [ "$missed" -lt 2 ] || [ -s result ] || ended=gone; fi
    if send_events; then quiet=0; else quiet=$((quiet + 1)); fi
    looked=$((looked + 1))
    if [ "$ended" != no ] || [ "$looked" -ge 10 ]; then send_output; fi
    if [ "$ended" != no ]; then
        [ -z "$part" ] || printf 'e %d\n%s' ${#part} "$part"
        if [ "$ended" = yes ]; then echo z; else echo x; fi
        exit 0
    fi
    [ $((quiet % 10)) -ne 9 ] || echo k        # a reader that is gone shows as SIGPIPE
    sleep $pause
done
