#!/bin/sh
# lock.sh: the lock of a stack, and who has it. Functions only: runner.sh sources it, prune.sh is sent with it in front,
# and both with runs.sh.
#
# Reads the variable home, the stack's state folder. Whoever has the lock holds the file `lock` by flock, in file
# descriptor 9, so that it cannot go stale; without flock it is the folder lock.d with the file owner. The file `holder`
# says who.
# shellcheck disable=SC2154  # the scripts that it serves set this

try_lock() { # 1: somebody else has it
    exec 9>>"$home/lock" || return 1
    if command -v flock >/dev/null 2>&1; then flock -n 9; return; fi
    boot=$(cat /proc/sys/kernel/random/boot_id)
    if mkdir "$home/lock.d" 2>/dev/null; then printf '%s %s\n' $$ "$boot" >"$home/lock.d/owner"; return; fi
    # No owner yet: either it is being written just now, or whoever made the folder was killed before it could be.
    [ -s "$home/lock.d/owner" ] || sleep 1
    pid='' since=''
    read -r pid since 2>/dev/null <"$home/lock.d/owner"
    [ "$since" = "$boot" ] && kill -0 "$pid" 2>/dev/null && return 1
    rm -rf "$home/lock.d"
    mkdir "$home/lock.d" 2>/dev/null && printf '%s %s\n' $$ "$boot" >"$home/lock.d/owner"
}

release_lock() { # also for processes that are still ending: they have the same descriptor
    rm -rf "$home/holder" "$home/lock.d"
    ! command -v flock >/dev/null 2>&1 || flock -u 9
}

write_holder() { # WHAT WHO
    printf '%s\nby %s\nsince %s\npid %s\n' "$1" "$2" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $$ >"$home/holder"
}

holder_text() { # WHAT by WHO since WHEN; of a run with its step
    held=$(grep -v '^pid ' "$home/holder" 2>/dev/null | tr '\n' ' ')
    running=$(sed -n 's/^run //p' "$home/holder" 2>/dev/null)
    if [ -z "$running" ]; then printf '%s\n' "${held:-another process on the server}"; return; fi
    at=$(last_step "$home/run/$running")
    printf "%sat '%s'\n" "$held" "${at:-the start}"
}
