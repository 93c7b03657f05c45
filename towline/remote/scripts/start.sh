#!/bin/sh
# start.sh ROOT STACK RUN <gzip tar of the run's files: starts the runner, detached from this session, and follows it.
# Makes ROOT/.towline/STACK/run/RUN; only one start of a run gets through. Prints what follow.sh prints.
set -u
umask 077
home=$1/.towline/$2
mkdir -p "$home/run" && mkdir "$home/run/$3" && cd "$home/run/$3" || exit 1
# `undo` is the last file: tar takes an archive that ends between two of them for whole
if ! gzip -dc | tar -xof - || [ ! -f undo ]; then cd .. && rm -rf "$3"; exit 1; fi
: >events
: >output
# The lock's holder and the events tell of everything; its own stderr would only be a trap of the script.
# shellcheck source=/dev/null
. ./login_env.sh
without=$(without_variables_of "../../../../$2/.env" ../../releases/*/files/.env)
# shellcheck disable=SC2086  # one word for each option and name
if command -v setsid >/dev/null 2>&1; then setsid env $without sh ./runner.sh </dev/null >>output 2>&1 &
else nohup env $without sh ./runner.sh </dev/null >>output 2>&1 &
fi
printf '%s\n' $! >pid
exec sh ./follow.sh . 0 0
