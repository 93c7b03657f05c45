#!/bin/sh
# containers.sh: lists and inspects the containers of a Compose project. Functions and formats only: runner.sh sources
# it, drift.sh and survey.sh are sent with it in front. Needs the function limit (commands/shell.py).
#
# Reads the variable project, the name of the Compose project.
# shellcheck disable=SC2034,SC2154  # the scripts that it serves set and read these
tab=$(printf '\t')

# The labels that Compose sets, and parts of formats for `docker inspect`.
project_label=com.docker.compose.project
service_label=com.docker.compose.service
oneoff_label=com.docker.compose.oneoff      # True: made by `compose run`
project_of="{{index .Config.Labels \"$project_label\"}}"
service_of="{{index .Config.Labels \"$service_label\"}}"
oneoff_of="{{index .Config.Labels \"$oneoff_label\"}}"
config_hash_of='{{index .Config.Labels "com.docker.compose.config-hash"}}'
health_of='{{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}}'
restart_policy_of='{{or .HostConfig.RestartPolicy.Name "no"}}'

engine_socket=${DOCKER_HOST:-/var/run/docker.sock}
engine_socket=${engine_socket#unix://}
answer_within=30        # seconds for what Docker is only asked
timeout_option=--foreground     # what is asked in a step goes with the step
docker_program=$(command -v docker 2>/dev/null)      # '' without it: `limit docker` would start the function below

# An engine or a `docker` that hangs must not hang what only asks: that ends with 124. What works may take its time.
docker() {
    case $1 in
        ps | inspect | logs | info | version | image | network | tag | rmi | kill | pause | unpause) ask docker "$@" ;;
        *) command docker "$@" ;;
    esac
}

ask() { # docker WORD…
    shift
    [ -n "$docker_program" ] || { echo "docker: not found" >&2; return 127; }
    # shellcheck disable=SC2086  # one word for each option and name
    limit "$answer_within" ${without:+env $without} "$docker_program" "$@" || {
        answer_code=$?
        [ "$answer_code" != 124 ] || printf 'docker %s: no answer within %s s\n' "$1" "$answer_within" >&2
        return "$answer_code"
    }
}

compose() {
    case $1 in
        config | --file) ask docker compose --project-name "$project" "$@" ;;
        *) docker compose --project-name "$project" "$@" ;;
    esac
}

project_containers() { # [WORD]…: ids of the running containers; with --all of the others too. WORD: for `docker ps`
    docker ps --quiet --no-trunc --filter "label=$project_label=$project" --filter "label=$oneoff_label=False" "$@"
}

service_containers() { # SERVICE [--all]: as project_containers
    project_containers --filter "label=$service_label=$1" ${2:+"$2"}
}

# A container that is removed after it was listed makes `docker inspect` exit with 1; it still prints all the others.
inspect_containers() { # FORMAT [ID]…
    format=$1
    shift
    [ $# -eq 0 ] || docker inspect --type container --format "$format" "$@" 2>/dev/null || :
}

inspect_project() { # FORMAT: of all containers, running or not. Exit code 1: Docker does not answer
    ids=$(project_containers --all) || return 1
    # shellcheck disable=SC2086
    inspect_containers "$1" $ids
}

# Prints `SERVICE HASH` of all services: the config hash that a container would get that Compose made now. In two steps
# where there may be an env_file: `config --hash` alone leaves out what that resolves to (2.40), and a container's own
# hash has it. Reads the variable folder, that of the release.
config_hashes() {
    if has_env_files; then compose config </dev/null 2>/dev/null | compose --file - config --hash '*' 2>/dev/null
    else compose config --hash '*' </dev/null 2>/dev/null; fi
}

has_env_files() { # whether one of the release's YAML files may name some, or leads to others
    [ -d "$folder/files" ] || return 0
    cut -f5 "$folder/manifest" | grep -iE '\.ya?ml$' | tr '\n' '\0' |
        (cd "$folder/files" && xargs -0 grep -lsE 'env_file|include|extends' --) | grep -q .
}

# Makes Compose read the files that belong to a release: the stack's own, and the override with the labels by which
# Compose notices that a mounted file has changed. Reads the variable home, the stack's state folder.
use_compose_files() { # RELEASE [plain]: `plain` without the override
    folder=$home/releases/$1
    COMPOSE_PATH_SEPARATOR=:        # the stack's .env may have another
    export COMPOSE_PATH_SEPARATOR
    [ ! -s "$folder/profiles" ] || { COMPOSE_PROFILES=$(cat "$folder/profiles"); export COMPOSE_PROFILES; }
    [ ! -s "$folder/env_files" ] || { COMPOSE_ENV_FILES=$(cat "$folder/env_files"); export COMPOSE_ENV_FILES; }
    [ -s "$folder/compose_files" ] || return 0
    COMPOSE_FILE=$(cat "$folder/compose_files")
    [ -n "${2:-}" ] || [ ! -s "$folder/override.json" ] || COMPOSE_FILE=$COMPOSE_FILE:$folder/override.json
    export COMPOSE_FILE
}
