#!/bin/sh
# releases.sh: keeps a release that runs healthy, with its images, and removes old ones. Functions only: runner.sh
# sources it. Commands of steps: keep_release, restore_images.
#
# In ROOT/.towline/STACK/releases/ID it writes
#   images     rows `SERVICE IMAGE IMAGE-ID CONFIG-HASH`: what the containers of the release were made from
#   built      bytes of the images that were built for it
#   model      the folder it was rendered in, and then the Compose model as JSON
#   outcome    good or failed; seconds: how long its last run took; downtime: rows `SERVICE SECONDS`
# and in ROOT/.towline/STACK `current` and `before`: the live good release and the good one before it.
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

# Keeps the images that the release runs with under a tag of their own: the next build takes the name, not the image.
keep_images() {
    folder=$home/releases/$release
    cut -f3 "$folder/images" >"$scratch/images.before" 2>/dev/null
    inspect_project "$service_of$tab{{.Config.Image}}$tab{{.Image}}$tab$config_hash_of" | sort -u |
        cat >"$scratch/images" || return 1
    while IFS=$tab read -r service _ image _; do
        docker tag "$image" "towline/$project/$service:$release" || return 1
    done <"$scratch/images"
    save "$folder/images" <"$scratch/images" || return 1
    # built again for the same release, and without any name now
    while read -r image; do
        [ "$(docker image inspect --format '{{len .RepoTags}}' "$image" 2>/dev/null)" != 0 ] ||
            docker rmi "$image" >/dev/null 2>&1
    done <"$scratch/images.before"
    # what the next build may need of the disk: the size of the images that were built (compose labels them)
    cut -f3 "$folder/images" | sort -u |
        xargs docker image inspect --format "{{if .Config.Labels}}$project_of {{.Size}}{{end}}" 2>/dev/null |
        awk -v project="$project" '$1 == project { sum += $2 } END { printf "%d\n", sum }' | save "$folder/built"
}

record_outcome() { # good|failed
    now=$(uptime_now)
    printf '%s %s\n' "$now" "$begun" | awk '{ printf "%.1f\n", $1 - $2 }' | save "$home/releases/$release/seconds" &&
        printf '%s\n' "$1" | save "$home/releases/$release/outcome"
}

keep_release() {
    rm -f "$scratch/room.undo"
    folder=$home/releases/$release
    keep_images && keep_model && keep_downtime || return 1
    sync_disk "$home"       # before it is called live
    if [ -n "$previous" ] && [ "$previous" != "$release" ]; then
        printf '%s\n' "$previous" | save "$home/before" || return 1
    fi
    record_outcome good && printf '%s\n' "$release" | save "$home/current" || return 1
    record_states || rm -f "$home/live.stat"        # by now the files are older than when they were applied
    remove_old_releases
    remove_old_runs
    sync_disk "$home"       # before it is told
}

# What compose makes of the files without our own labels, for the next plan to compare with. It has .env's values.
keep_model() (
    umask 077
    cd "$live" || exit 1
    COMPOSE_FILE=$(cat "$folder/compose_files" 2>/dev/null) || unset COMPOSE_FILE
    export COMPOSE_FILE
    compose config --format json >"$scratch/model" 2>/dev/null || { rm -f "$folder/model"; exit 0; }
    { pwd -P; cat "$scratch/model"; } | save "$folder/model"
)

keep_downtime() { [ ! -f "$scratch/downtime" ] || save "$folder/downtime" <"$scratch/downtime"; }

names_in() { for path in "$1"/*/; do path=${path%/}; printf '%s\n' "${path##*/}"; done; }      # FOLDER: its folders

remove_old_releases() { # all but the newest $keep, with the tags of their images
    names_in "$home/releases" | grep -v '\.part$' | sort -r | tail -n "+$((keep + 1))" >"$scratch/old"
    while read -r id; do
        [ "$id" = "$release" ] || [ "$id" = "$(cat "$home/before" 2>/dev/null)" ] && continue
        while IFS=$tab read -r service _ _; do
            docker rmi "towline/$project/$service:$id" >/dev/null 2>&1
        done 2>/dev/null <"$home/releases/$id/images"
        rm -rf "$home/releases/${id:?}"
    done <"$scratch/old"
}

remove_old_runs() { # all but the newest 10
    names_in "$home/run" | sort -r | tail -n +11 | while read -r id; do rm -rf "$home/run/${id:?}"; done
}

restore_images() { # RELEASE, whose files are live: gives its images their names back
    [ -s "$home/releases/$1/images" ] || return 0
    while IFS=$tab read -r service name _; do
        case $name in sha256:*) continue ;; esac
        docker tag "towline/$project/$service:$1" "$name" 2>/dev/null && continue
        event rebuild service "$service"       # somebody pruned the kept image: the release's own files make it again
        (in_live compose build "$service") || return 1
    done <"$home/releases/$1/images"
}
