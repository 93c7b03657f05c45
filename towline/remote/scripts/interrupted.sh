#!/bin/sh
# interrupted.sh ROOT: names the stacks whose last run ended without a result: the runner was killed, or the server went
# down. Changes nothing. Sent with runs.sh in front. Reads ROOT/.towline/STACK/run/ID/{result,pid,events}.
# Prints a row `STACK RUN STEP` each, separated by tabs; STEP is the last one that began, `-` for none.
set -u
cd "$1/.towline" 2>/dev/null || exit 0
for stack in */; do
    run=$(last_run "${stack%/}")
    if [ -z "$run" ] || [ -s "$run/result" ] || is_running "$run"; then continue; fi
    step=$(last_step "$run")
    printf '%s\t%s\t%s\n' "${stack%/}" "${run##*/}" "${step:--}"
done
