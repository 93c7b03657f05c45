#!/bin/sh
# prune.sh ROOT STACK PROJECT yes|no: removes releases that going back does not need: those that are neither live nor
# the good one before it, with the tags of their images. With `no` it only names them. Reads and writes
# ROOT/.towline/STACK. Sent with current.sh in front. Prints a line `release ID KILOBYTES` each. Exit code 4: locked,
# stderr says by whom.
set -u
home=$1/.towline/$2 project=$3 really=$4
[ -d "$home/releases" ] || exit 0
[ ! -s "$home/held" ] || { printf 'locked: %s\n' "$(head -n 1 "$home/held")" >&2; exit 4; }
exec 9>>"$home/lock"
if command -v flock >/dev/null 2>&1; then flock -n 9; else [ ! -d "$home/lock.d" ]; fi ||
    { echo "a deploy is running" >&2; exit 4; }
current=$(current_release "$home")
for folder in "$home"/releases/*/; do
    id=${folder%/} id=${id##*/}
    # no outcome: it is being received, or about to run
    case $id in *.part) continue ;; *) [ -e "$folder/outcome" ] || continue ;; esac
    case $id in "$current" | "$(cat "$home/before" 2>/dev/null)") continue ;; esac
    printf 'release %s %s\n' "$id" "$(du -sk "$folder" | cut -f1)"
    [ "$really" = yes ] || continue
    cut -f1 "$folder/images" 2>/dev/null |
        while read -r service; do docker rmi "towline/$project/$service:$id" >/dev/null 2>&1; done
    rm -rf "$folder"
done
