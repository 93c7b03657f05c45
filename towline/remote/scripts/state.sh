#!/bin/sh
# state.sh ROOT STACK: what stands on the server for one stack, a `key<TAB>value…` line each. Changes nothing.
set -u
home=$1/.towline/$2 live=$1/$2

say() { printf '%s' "$1"; shift; for word; do printf '\t%s' "$word"; done; echo; }

lock_is_free() {
    [ -e "$home/lock" ] || [ -d "$home/lock.d" ] || return 0
    if command -v flock >/dev/null 2>&1; then
        ( exec 9<"$home/lock"; flock -n 9 ) 2>/dev/null
    else
        read -r pid boot <"$home/lock.d/owner" 2>/dev/null || return 0
        [ "$boot" != "$(cat /proc/sys/kernel/random/boot_id)" ] || ! kill -0 "$pid" 2>/dev/null
    fi
}

last_run() {
    run=''
    for dir in "$home"/run/*; do     # no slash behind it: ID/ would sort after ID-2/
        case $(cat "$dir/result" 2>/dev/null) in locked | stale) ;; *) run=$dir ;; esac
    done
    [ -d "$run" ] || return 0
    id=${run%/} id=${id##*/}
    step=$(sed -n 's/.*"event":"step","name":"\([^"]*\)".*/\1/p' "$run/events" 2>/dev/null | tail -n 1)
    release=$(cat "$run/release" 2>/dev/null)
    if [ -s "$run/result" ]; then outcome=$(cat "$run/result")
    elif grep -q runner.sh "/proc/$(cat "$run/pid" 2>/dev/null)/cmdline" 2>/dev/null; then outcome=running
    else outcome="cut"; fi
    say run "$id" "$outcome" "${step:--}" "${release:--}"
}

releases() {
    for dir in "$home"/releases/*/; do
        [ -f "$dir/manifest" ] || continue
        id=${dir%/} id=${id##*/}
        say release "$id" "$(cat "$dir/outcome" 2>/dev/null || echo -)" "$(cat "$dir/seconds" 2>/dev/null || echo 0)" \
            "$(cat "$dir/built" 2>/dev/null || echo 0)" "$(tr '\t\n' '= ' 2>/dev/null <"$dir/downtime")" "$(tr -d '\n\t' <"$dir/meta.json" 2>/dev/null)"
    done
}

say now "$(date -u +%Y%m%d-%H%M%S)"
say live "$([ -d "$live" ] && echo yes || echo no)"
say current "$(cat "$home/current" 2>/dev/null || echo -)"
say before "$(cat "$home/before" 2>/dev/null || echo -)"
if lock_is_free; then say lock free; else say lock held "$(grep -v '^pid ' "$home/holder" 2>/dev/null | tr '\n' ' ')"; fi
if [ -s "$home/held" ]; then say held "$(head -n 1 "$home/held")"; fi
last_run
releases
