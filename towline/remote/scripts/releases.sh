#!/bin/sh
# releases.sh: a release that runs healthy is kept, with its images; old ones are forgotten.
# shellcheck disable=SC2034,SC2154,SC2317  # sourced by runner.sh, whose settings and functions it uses; steps call it by name

# The images that the release runs with, under a tag of their own: the next build takes the name, not the image.
keep_images() {
    dir=$home/releases/$release
    ids=$(containers)
    cut -f3 "$dir/images" >"$scratch/look.before" 2>/dev/null
    : >"$dir/images.new"
    # shellcheck disable=SC2086
    [ -z "$ids" ] || docker inspect --format "{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.Config.Image}}$tab{{.Image}}$tab{{index .Config.Labels \"com.docker.compose.config-hash\"}}" $ids | sort -u >"$dir/images.new"
    while IFS=$tab read -r service _ image _; do
        docker tag "$image" "towline/$project/$service:$release" || return 1
    done <"$dir/images.new"
    mv "$dir/images.new" "$dir/images"
    # built again for the same release, and without any name now
    while read -r image; do
        [ "$(docker image inspect --format '{{len .RepoTags}}' "$image" 2>/dev/null)" != 0 ] || docker rmi "$image" >/dev/null 2>&1
    done <"$scratch/look.before"
    # what the next build may need of the disk: the size of the images that were built (compose labels them)
    cut -f3 "$dir/images" | sort -u | xargs docker image inspect --format \
        '{{if .Config.Labels}}{{index .Config.Labels "com.docker.compose.project"}} {{.Size}}{{end}}' 2>/dev/null |
        awk -v project="$project" '$1 == project { sum += $2 } END { printf "%d\n", sum }' >"$dir/built"
}

note_end() { # OUTCOME
    echo "$1" >"$home/releases/$release/outcome"
    now=$(uptime_now)
    echo "$now $begun" | awk '{ printf "%.1f\n", $1 - $2 }' >"$home/releases/$release/seconds"
}

keep_release() {
    keep_images || return 1
    # what compose makes of the files, without our own labels: the next plan holds its own against it. It has .env's values.
    (
        umask 077
        cd "$live" || exit 1
        COMPOSE_FILE=$(cat "$home/releases/$release/compose_files" 2>/dev/null) || unset COMPOSE_FILE
        export COMPOSE_FILE
        { pwd -P; docker compose --project-name "$project" config --format json; } >"$home/releases/$release/model" 2>/dev/null
    )
    cp "$scratch/downtime" "$home/releases/$release/downtime" 2>/dev/null
    [ -z "$previous" ] || [ "$previous" = "$release" ] || echo "$previous" >"$home/before"
    echo "$release" >"$home/current.new" && mv "$home/current.new" "$home/current" || return 1
    note_end good
    note_stat           # by now the files are older than when they were applied
    forget_releases
    forget_runs
}

forget_releases() {
    for dir in "$home"/releases/*/; do dir=${dir%/}; echo "${dir##*/}"; done | grep -v '\.part$' | sort -r | tail -n "+$((keep + 1))" >"$scratch/look.old"
    while read -r id; do
        [ "$id" = "$release" ] || [ "$id" = "$(cat "$home/before" 2>/dev/null)" ] && continue
        while IFS=$tab read -r service _ _; do
            docker rmi "towline/$project/$service:$id" >/dev/null 2>&1
        done 2>/dev/null <"$home/releases/$id/images"
        rm -rf "$home/releases/${id:?}"
    done <"$scratch/look.old"
}

forget_runs() {
    for dir in "$home"/run/*/; do dir=${dir%/}; echo "${dir##*/}"; done | sort -r | tail -n +11 | while read -r id; do
        rm -rf "$home/run/${id:?}"
    done
}

restore_images() { # RELEASE, whose files are live
    [ -s "$home/releases/$1/images" ] || return 0
    while IFS=$tab read -r service name _; do
        case $name in sha256:*) continue ;; esac
        docker tag "towline/$project/$service:$1" "$name" 2>/dev/null && continue
        event rebuild service "$service"       # somebody pruned the kept image: the release's own files make it again
        (in_live docker compose --project-name "$project" build "$service") || return 1
    done <"$home/releases/$1/images"
}
