#!/bin/sh
# container_data.sh LIVE <rows: what is there where services keep their data. Changes nothing. Rows on stdin, their
# columns separated by tabs; paths are relative to the live folder:
#   path PATH       what a release would bring
#   folder PATH     a folder that it lies in
#   known PATH      what a release has brought, of what is in those folders
# Prints rows: `there PATH` for each path that exists, `folder PATH` for each folder that does, `used PATH` for each in
# which there is something that no release has brought, or that this login may not look into.
set -u
umask 077
tab=$(printf '\t')
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 129' HUP INT PIPE TERM
cat >"$scratch/rows" || exit 1
cd "$1" 2>/dev/null || exit 0
while IFS=$tab read -r kind path; do
    case $kind in
    path) [ ! -e "./$path" ] && [ ! -L "./$path" ] || printf 'there\t%s\n' "$path" ;;
    folder)
        [ -d "./$path" ] || continue
        printf 'folder\t%s\n' "$path"
        if [ -r "./$path" ] && [ -x "./$path" ]; then printf '%s\0' "./$path/." >>"$scratch/folders"
        else printf 'used\t%s\n' "$path"; fi
        ;;
    esac
done <"$scratch/rows"
[ -s "$scratch/folders" ] || exit 0
xargs -0 sh -c 'find "$@" ! -name . -prune -print' find <"$scratch/folders" 2>/dev/null |
    awk -F"$tab" '
        FILENAME == ARGV[1] { if ($1 == "known") known[$2]; next }
        !match($0, /\/\.\/[^\/]*$/) { next }
        {
            folder = substr($0, 3, RSTART - 3)
            if (!((folder "/" substr($0, RSTART + 3)) in known) && !(folder in used)) {
                used[folder]
                print "used\t" folder
            }
        }
    ' "$scratch/rows" -
