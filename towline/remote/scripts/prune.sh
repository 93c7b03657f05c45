#!/bin/sh
# prune.sh ROOT STACK PROJECT yes|no BY: removes releases that going back does not need: those that are neither live nor
# the good one before it nor release 0, with the tags of their images. With `no` it only names them, and takes no lock.
# Sent with runs.sh, lock.sh, current.sh and kept_images.sh in front. Reads and writes ROOT/.towline/STACK. Prints a
# line `release ID KILOBYTES` each. Exit code 4: locked, stderr says by whom.
set -u
home=$1/.towline/$2 project=$3 really=$4 by=$5
[ -d "$home/releases" ] || exit 0
[ ! -s "$home/held" ] || { printf 'locked: %s\n' "$(head -n 1 "$home/held")" >&2; exit 4; }
if [ "$really" = yes ]; then
    try_lock || { printf 'locked: %s\n' "$(holder_text)" >&2; exit 4; }
    trap release_lock EXIT
    trap 'exit 129' HUP INT PIPE TERM
    write_holder prune "$by"
fi
current=$(current_release "$home")
for folder in "$home"/releases/*/; do
    id=${folder%/} id=${id##*/}
    # no outcome: it is being received, or about to run
    case $id in 0 | *.part) continue ;; *) [ -e "$folder/outcome" ] || continue ;; esac
    case $id in "$current" | "$(cat "$home/before" 2>/dev/null)") continue ;; esac
    printf 'release %s %s\n' "$id" "$(du -sk "$folder" | cut -f1)"
    [ "$really" = yes ] || continue
    cut -f1 "$folder/images" 2>/dev/null |
        while read -r service; do
            kept=$(kept_image "$project" "$service" "$id")
            docker rmi "$kept" "$kept.again" >/dev/null 2>&1
        done
    rm -rf "$folder"
done
