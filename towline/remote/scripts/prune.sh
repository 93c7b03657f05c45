#!/bin/sh
# prune.sh ROOT STACK PROJECT yes|no: takes away what going back does not need: releases that are neither live nor the good one
# before it, with the tags of their images. With `no` only tells. Prints `release ID KILOBYTES` lines. Exit code 4: locked.
set -u
home=$1/.towline/$2 project=$3 really=$4
[ -d "$home/releases" ] || exit 0
[ ! -s "$home/held" ] || { echo "locked: $(head -n 1 "$home/held")" >&2; exit 4; }
exec 9>>"$home/lock"
if command -v flock >/dev/null 2>&1; then flock -n 9; else [ ! -d "$home/lock.d" ]; fi || { echo "a deploy is running" >&2; exit 4; }
for dir in "$home"/releases/*/; do
    id=${dir%/} id=${id##*/}
    # no outcome: on its way, or about to run
    case $id in *.part) continue ;; *) [ -e "$dir/outcome" ] || continue ;; esac
    case $id in "$(cat "$home/current" 2>/dev/null)" | "$(cat "$home/before" 2>/dev/null)") continue ;; esac
    echo "release $id $(du -sk "$dir" | cut -f1)"
    [ "$really" = yes ] || continue
    cut -f1 "$dir/images" 2>/dev/null | while read -r service; do docker rmi "towline/$project/$service:$id" >/dev/null 2>&1; done
    rm -rf "$dir"
done
