#!/bin/sh
# drift.sh ROOT STACK PROJECT: what somebody changed behind towline's back, a `key<TAB>value…` line each. Changes nothing.
#   edited PATH, missing PATH           files of the current release, by their content
#   hash SERVICE HASH                   as compose labels a container that it would make now
#   kept SERVICE IMAGE-ID               what the current release was found healthy with
#   once SERVICE                        did its work and ended by itself
#   stale SERVICE CONTAINER PATH        still sees what PATH was when the container started
# The functions are in comparison.sh, which is sent before it. Nothing at all for a stack without a current release. Exit code 1: docker does not answer.
# shellcheck disable=SC2034,SC2154  # tab and row are set in comparison.sh, real is used there
set -u
umask 077
cd "$1" 2>/dev/null || exit 0
root=$(pwd)
home=$root/.towline/$2 live=$root/$2 project=$3
current=$(cat "$home/current" 2>/dev/null) || exit 0
release=$home/releases/$current
[ -s "$release/manifest" ] || exit 0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 129' HUP INT PIPE TERM
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR COMPOSE_PROJECT_DIRECTORY
export COMPOSE_ANSI=never

# compose's hash of each service, as the runner has it read the files (use_files in engine.sh)
look_at_hashes() {
    cd "$live" 2>/dev/null || return 0
    if [ -s "$release/compose_files" ]; then
        COMPOSE_FILE=$(cat "$release/compose_files")
        [ ! -s "$release/override.json" ] || COMPOSE_FILE=$COMPOSE_FILE:$release/override.json
        export COMPOSE_FILE
    fi
    # twice: `config --hash` by itself leaves out what an env_file resolves to (2.40), and a container's own hash has it
    docker compose --project-name "$project" config </dev/null 2>/dev/null |
        docker compose --project-name "$project" --file - config --hash '*' 2>/dev/null
}

look_at_containers() {
    ids=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.oneoff=False) || exit 1
    [ -n "$ids" ] || return 0
    # shellcheck disable=SC2086
    docker inspect --type container --format "$row" $ids 2>/dev/null || :
}

look_at_hashes >"$scratch/hashes" &
look_at_containers >"$scratch/containers" || exit 1
real=$(cd "$live" 2>/dev/null && pwd -P) || real=$live
look_at_files
look_at_mounts
wait
# Compose puts an id in place of `network_mode: service:x` before it hashes: for those the two are never the same.
awk -F"$tab" '
    FILENAME == ARGV[1] { if ($9 ~ /container:/) borrows[$4]; next }
    split($0, word, " ") == 2 && !(word[1] in borrows) { print "hash\t" word[1] "\t" word[2] }
' "$scratch/containers" "$scratch/hashes"
awk -F"$tab" '$3 ~ /^sha256:/ { print "kept\t" $1 "\t" $3 }' "$release/images" 2>/dev/null
look_at_once
look_at_stale
