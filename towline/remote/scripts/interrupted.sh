#!/bin/sh
# interrupted.sh ROOT: names the stacks whose last run ended without a result: the runner was killed, or the server went
# down. Changes nothing. Sent with runs.sh in front. Reads ROOT/.towline/STACK/run/ID/{result,pid,events}.
# Prints a line `STACK RUN STEP` each; STEP is the last one that began, `-` for none.
set -u
cd "$1/.towline" 2>/dev/null || exit 0
for stack in */; do
    for run in "$stack"run/*/; do :; done       # the last one: ids sort by time
    if [ ! -d "$run" ] || [ -s "$run/result" ] || is_running "$run"; then continue; fi
    id=${run%/}
    step=$(last_step "$run")
    printf '%s %s %s\n' "${stack%/}" "${id##*/}" "${step:--}"
done
