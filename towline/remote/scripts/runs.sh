#!/bin/sh
# runs.sh: tells of the runs of runner.sh which is the last, and how far it has come. Functions only: runner.sh sources
# it, state.sh and interrupted.sh are sent with it in front.
#
# The ids of runs and releases only grow, whatever the clock does (run_id in planning/plan.py): the newest is the
# last in the order of the bytes. Nothing is compared with the clock.

last_step() { # RUN, its folder: the name of the last step that began; nothing before the first one
    sed -n 's/.*"event":"step","name":"\([^"]*\)".*/\1/p' "$1/events" 2>/dev/null | tail -n 1
}

is_running() { # RUN, its folder: whether its runner still runs
    grep -q runner.sh "/proc/$(cat "$1/pid" 2>/dev/null)/cmdline" 2>/dev/null
}

newest_first() { # FOLDER: the ids in it, a line each
    for path in "$1"/[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-[0-9][0-9][0-9][0-9][0-9][0-9]*/; do
        path=${path%/}
        [ ! -d "$path" ] || printf '%s\n' "${path##*/}"
    done | LC_ALL=C sort -r
}

last_run() { # HOME, a stack's state folder: the folder of the last run that began and was not refused; or nothing
    newest_first "$1/run" | while read -r id; do
        # without a process and events it is just being started, or never was
        [ -s "$1/run/$id/pid" ] || [ -s "$1/run/$id/events" ] || [ -s "$1/run/$id/result" ] || continue
        case $(cat "$1/run/$id/result" 2>/dev/null) in locked | stale) continue ;; esac
        printf '%s\n' "$1/run/$id"
        break
    done
}
