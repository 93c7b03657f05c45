#!/bin/sh
# state.sh ROOT STACK: the state of one stack on the server. Changes nothing. Sent with runs.sh and current.sh in front.
# Reads ROOT/.towline/STACK. Prints rows, their columns separated by tabs; `-` or nothing for what there is not:
#   now TIME                        the server's clock, UTC, as the ids of releases and runs are written
#   newest ID                       the highest id of a release or a run, whatever became of it
#   broken FILE                     a file that is empty or not what it should be
#   live yes|no                     whether the live folder is there
#   current ID, before ID           the live good release, and the good one before it
#   lock free, lock held HOLDER     whether a run has the stack
#   held TEXT                       a person's lock
#   run ID OUTCOME STEP RELEASE     the last run that did something. OUTCOME: its result, running, or cut (it ended
#                                   without one)
#   made ID                         a container that is kept as one of release 0
#   release ID OUTCOME SECONDS BUILT DOWNTIME META      each release. BUILT: bytes of the images that were built for it;
#                                   DOWNTIME: `SERVICE=SECONDS …`; META: its meta.json
set -u
home=$1/.towline/$2 live=$1/$2

print_row() { # COLUMN…
    printf '%s' "$1"
    shift
    for column; do printf '\t%s' "$column"; done
    echo
}

first_line() { # FILE OTHERWISE: its first line; nothing for a file that is empty, OTHERWISE when there is none
    if [ -e "$1" ]; then head -n 1 "$1" | tr -d '\000-\037\177'; else printf '%s\n' "$2"; fi
}

lock_is_free() {
    [ -e "$home/lock" ] || [ -d "$home/lock.d" ] || return 0
    if command -v flock >/dev/null 2>&1; then
        ( exec 9<"$home/lock"; flock -n 9 ) 2>/dev/null
    else
        read -r pid boot <"$home/lock.d/owner" 2>/dev/null || return 0
        [ "$boot" != "$(cat /proc/sys/kernel/random/boot_id)" ] || ! kill -0 "$pid" 2>/dev/null
    fi
}

print_last_run() {
    run=$(last_run "$home")
    [ -n "$run" ] || return 0
    step=$(last_step "$run")
    release=$(cat "$run/release" 2>/dev/null)
    if [ -s "$run/result" ]; then outcome=$(cat "$run/result")
    elif is_running "$run"; then outcome=running
    else outcome="cut"; fi
    print_row run "${run##*/}" "$outcome" "${step:--}" "${release:--}"
}

print_releases() {
    for folder in "$home"/releases/*/; do
        [ -f "$folder/manifest" ] || continue
        id=${folder%/} id=${id##*/}
        print_row release "$id" "$(first_line "$folder/outcome" -)" \
            "$(first_line "$folder/seconds" 0)" "$(first_line "$folder/built" 0)" \
            "$(tr '\t\n' '= ' 2>/dev/null <"$folder/downtime")" "$(tr -d '\n\t' <"$folder/meta.json" 2>/dev/null)"
    done
}

print_row now "$(date -u +%Y%m%d-%H%M%S)"
newest=$({ newest_first "$home/releases"; newest_first "$home/run"; } | LC_ALL=C sort -r | head -n 1)
print_row newest "${newest:--}"
print_row live "$([ -d "$live" ] && echo yes || echo no)"
current=$(current_release "$home")
print_row current "${current:--}"
[ ! -e "$home/current" ] || named_release "$home" >/dev/null || print_row broken current
print_row before "$(first_line "$home/before" -)"
if lock_is_free; then print_row lock free
else print_row lock held "$(grep -v '^pid ' "$home/holder" 2>/dev/null | tr '\n' ' ')"; fi
if [ -s "$home/held" ]; then print_row held "$(head -n 1 "$home/held")"; fi
print_last_run
cut -f1 "$home/releases/0/made/containers" 2>/dev/null | while read -r id; do print_row made "$id"; done
print_releases
