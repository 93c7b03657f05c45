#!/bin/sh
# runs.sh: tells how far a run of runner.sh has come. Functions only: runner.sh sources it, state.sh and interrupted.sh
# are sent with it in front.

last_step() { # RUN, its folder: the name of the last step that began; nothing before the first one
    sed -n 's/.*"event":"step","name":"\([^"]*\)".*/\1/p' "$1/events" 2>/dev/null | tail -n 1
}

is_running() { # RUN, its folder: whether its runner still runs
    grep -q runner.sh "/proc/$(cat "$1/pid" 2>/dev/null)/cmdline" 2>/dev/null
}
