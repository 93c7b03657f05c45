#!/bin/sh
# engine.sh: the commands of steps that need more of Docker than one command. Functions only: runner.sh sources it.
# Commands of steps: in_live, in_release, in_live_if_any, need_network, pull, use_built_images, release_command,
# remove_service, restart_after, signal, signal_back, mounts. They write their events with `event` of runner.sh.
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

in_live() { # COMMAND [WORD]…: where the live release runs, with its Compose files
    : >"$run/touched"
    applied=$(cat "$run/applied" 2>/dev/null || printf '%s\n' "$previous")
    use_compose_files "$applied"
    cd "$(folder_of "$applied")" && "$@"
}

in_release() {
    use_compose_files "$release"
    cd "$home/releases/$release/files" || return 1
    # The .env that is only in the live folder: services may name it, too
    [ ! -s ../env_files ] || [ -e .env ] || ln -s "$live/.env" .env || return 1
    "$@"
}

in_live_if_any() { # `docker compose down`; of what ran before the first release its containers tell enough
    if [ "$(cat "$run/applied" 2>/dev/null || printf '%s\n' "$previous")" = 0 ]; then down_zero; return; fi
    [ ! -d "$live" ] || in_live "$@"
}

need_network() { # NAME: makes it, unless it is there
    docker network inspect "$1" >/dev/null 2>&1 || { docker network create "$1" && event network name "$1"; }
}

# Pulled while the old containers still serve: images that are neither on the host nor built, and those of the SERVICEs,
# which have a `pull_policy` that asks for it. `up` pulls nothing. The run's file `images` names those of all services.
pull() { # [SERVICE]…
    [ $# -eq 0 ] || (in_release compose pull --ignore-buildable "$@") || return 1
    cp "$run/images" "$scratch/images" || return 1
    ! are_there || return 0
    while read -r image; do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull "$image" || return 1
    done <"$scratch/images"
}

are_there() { # all of $scratch/images
    images=$(cat "$scratch/images")
    # shellcheck disable=SC2086
    [ -z "$images" ] || docker image inspect --format . $images >/dev/null 2>&1
}

# Between `down` and `up` nothing is built: the images have been since before, of the release's own files, without the
# data that containers keep in the live folder. Only one that somebody has removed meanwhile is made again.
use_built_images() {
    are_there || (in_release compose build && compose pull --ignore-buildable --policy missing)
}

# --- release commands -------------------------------------------------------------------------------------------------

# A container of its own, with the new image and the new settings, beside those that run. It goes again, however it
# ends.
release_command() { # SERVICE SECONDS WORD…
    service=$1 most=$2 name=$project-$1-before-${run##*/} began_at=$(whole_uptime)
    shift 2
    trap 'docker rm --force "$name" >/dev/null 2>&1; tell_cut_command; exit 143' TERM
    (umask 077; in_release compose config | mount_from_live >"$scratch/rendered")
    [ -s "$scratch/rendered" ] || return 1
    in_release compose --file "$scratch/rendered" run --rm --no-deps --no-TTY --name "$name" "$service" "$@" &
    command=$!
    while still_runs "$command" 5; do
        elapsed=$(($(whole_uptime) - began_at))
        event job service "$service" seconds "$elapsed" limit "$most"
        [ "$elapsed" -ge "$most" ] || continue
        end_command "$command"
        docker rm --force "$name" >/dev/null 2>&1
        tell_cut_command
        return 124
    done
    wait "$command"
}

# Containers' data lies in the live folder: what is mounted and is not a file of the release comes from there. Filters
# the output of `compose config`.
mount_from_live() {
    files=$home/releases/$release/files
    while IFS= read -r line; do
        case $line in
            *" source: $files/"*)
                path=${line#*" source: $files/"}
                [ -f "$files/$path" ] || [ ! -e "$live/$path" ] && [ -e "$files/$path" ] ||
                    line="${line%%" source: "*} source: $live/$path" ;;
        esac
        printf '%s\n' "$line"
    done
}

tell_cut_command() { event cut service "$service" seconds $(($(whole_uptime) - began_at)); }

# --- update and rolling: only what changes ----------------------------------------------------------------------------

remove_service() { # SERVICE, its containers
    : >"$run/touched"
    ids=$(service_containers "$1" --all) || return 1
    # shellcheck disable=SC2086
    [ -z "$ids" ] || { docker stop $ids && docker rm $ids; }
}

# For a service that depends on a container that is new, or lives in the namespaces of one that was started again:
# compose (2.40) restarts it only where it replaced that container itself, and leaves it without network where it only
# restarted it.
restart_after() { # SERVICE OTHER: those containers of SERVICE that were started before the last one of OTHER
    last=$(start_times "$2" | sort | tail -n 1)
    start_times "$1" --all | while read -r started id; do
        ! expr "$started" '<' "$last" >/dev/null || docker restart "$id" || exit 1
    done
}

start_times() { # SERVICE [--all]: lines `STARTED ID`; without the Z, since 1.2Z sorts before 1.23Z
    for id in $(service_containers "$@"); do docker inspect --format "{{.State.StartedAt}} $id" "$id" | tr -d Z; done
}

signal() { # SERVICE SIGNAL: for a service that reads its mounted files again by itself
    in_live compose kill --signal "$2" "$1"
}

# When files are taken back: to the containers that ran before this run began, which may have read the files that go.
# One that was started since has not, and may not have set up its handler yet: the signal would end it.
signal_back() { # SERVICE SIGNAL
    for id in $(service_containers "$1"); do
        started=$(docker inspect --format '{{.State.StartedAt}}' "$id")
        ! expr "$started" '<' "$began" >/dev/null || docker kill --signal "$2" "$id" || :
    done
}

# --- mounted files ----------------------------------------------------------------------------------------------------

# A file that was mounted by itself and then replaced keeps its old content in the container, and compose does not see
# it. By now every container should see what the release has; one that does not is made anew.
mounts() {
    case $live in
        *[!abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-]*) ;;     # JSON may have escapes for it
        *) cut -f15 "$scratch/rows.all" | grep -qF "\"$live" || return 0 ;;
    esac
    sh "$run/drift.sh" "$(pwd)" "$stack" "$project" mounts >"$scratch/drift" || return 0
    stale=$(sed -n "s/^stale$tab\([^$tab]*\)$tab.*/\1/p" "$scratch/drift" | sort -u)
    [ -n "$stale" ] || return 0
    for service in $stale; do
        event stale service "$service"
        (up_as_it_is --no-deps --force-recreate "$service") || return 1
    done
}
