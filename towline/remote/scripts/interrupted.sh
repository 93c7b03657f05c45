#!/bin/sh
# interrupted.sh ROOT: a `STACK RUN STEP` line for each stack whose last run ended without a result: killed, or the server went down.
set -u
cd "$1/.towline" 2>/dev/null || exit 0
for stack in */; do
    for run in "$stack"run/*/; do :; done
    if [ ! -d "$run" ] || [ -s "$run/result" ]; then continue; fi
    if grep -q runner.sh "/proc/$(cat "$run/pid" 2>/dev/null)/cmdline" 2>/dev/null; then continue; fi
    id=${run%/}
    step=$(sed -n 's/.*"event":"step","name":"\([^"]*\)".*/\1/p' "$run/events" 2>/dev/null | tail -n 1)
    echo "${stack%/} ${id##*/} ${step:--}"
done
