#!/bin/sh
# drift.sh ROOT STACK PROJECT [mounts]: what differs on the server from what the last deploy left there. Changes
# nothing. With `mounts` only the rows `stale` are printed.
# Sent with current.sh, containers.sh, live_files.sh and comparison.sh in front. Reads ROOT/STACK, current,
# live.manifest, live.stat and releases/ID/{manifest,images,unhashed,…} in ROOT/.towline/STACK, and
# Docker.
# Prints rows, their columns separated by tabs; nothing for a stack without a current release:
#   edited PATH, missing PATH       a file of the current release whose content is another, or that is gone
#   data PATH                       container data of the release that is no longer what was sent
#   hash SERVICE HASH               the config hash that Compose would label a container with that it made now
#   borrows SERVICE                 the hash of the service tells nothing
#   kept SERVICE IMAGE-ID           the image that the current release was healthy with
#   once SERVICE                    its container exited with 0 by itself and is not started again
#   stale SERVICE CONTAINER PATH    the container still sees what PATH in the live folder was when it started
# Exit code 1: Docker does not answer.
# shellcheck disable=SC2034,SC2154  # comparison.sh reads and sets these
set -u
umask 077
cd "$1" 2>/dev/null || exit 0
root=$(pwd)
home=$root/.towline/$2 live=$root/$2 project=$3
current=$(current_release "$home")
[ -n "$current" ] || exit 0
release=$home/releases/$current
[ -s "$release/manifest" ] || exit 0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 129' HUP INT PIPE TERM
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR
unset COMPOSE_PROJECT_DIRECTORY
export COMPOSE_ANSI=never

live_hashes() { # as Compose makes them of the live files
    cd "$live" 2>/dev/null || return 0
    without=$(without_variables_of .env)
    use_compose_files "$current"
    config_hashes
}

[ -n "${4:-}" ] || live_hashes >"$scratch/hashes" &
inspect_project "$container_rows" >"$scratch/containers" || exit 1
real=$(cd "$live" 2>/dev/null && pwd -P) || real=$live
[ -n "${4:-}" ] || compare_files
printf '1\t%s\t%s\t%s\t%s\t%s\t%s\n' "$2" "$project" "$home" "$live" "$real" "$current" >"$scratch/stacks"
read_containers "$scratch"
differing_mounts "$scratch/mounts" "$scratch/differing"
read_mountinfo
wait
[ -z "${4:-}" ] || { find_stale_mounts; exit; }
awk -F"$tab" '
    FILENAME == ARGV[1] { borrowing[$2]; next }
    split($0, word, " ") == 2 && !(word[1] in borrowing) { print "hash\t" word[1] "\t" word[2] }
' "$scratch/borrowing" "$scratch/hashes"
[ ! -s "$release/unhashed" ] || sed "s/^/borrows$tab/" "$release/unhashed"
awk -F"$tab" '$3 ~ /^sha256:/ { print "kept\t" $1 "\t" $3 }' "$release/images" 2>/dev/null
find_completed
find_stale_mounts
