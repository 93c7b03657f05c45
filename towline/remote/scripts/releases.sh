#!/bin/sh
# releases.sh: keeps a release that runs healthy, with its images, and removes old ones. Functions only: runner.sh
# sources it. Commands of steps: keep_release, restore_images.
#
# In ROOT/.towline/STACK/releases/ID it writes
#   images     rows `SERVICE IMAGE IMAGE-ID CONFIG-HASH DIGEST`: what the containers of the release were made from;
#              DIGEST: `NAME@DIGEST` of an image that was pulled, else `-`
#   built      bytes of the images that were built for it
#   model      the folder it was rendered in, and then the Compose model as JSON
#   outcome    good or failed; seconds: how long its last run took; downtime: rows `SERVICE SECONDS`
# and in ROOT/.towline/STACK `current` and `before`: the live good release and the good one before it.
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

# Keeps the images that the release runs with under a tag of their own: the next build takes the name, not the image.
# That tag is never moved: where the same release runs with another image later on, the tag with `.again` is for it.
keep_images() {
    folder=$home/releases/$release
    cut -f3 "$folder/images" 2>/dev/null | sort -u >"$scratch/images.before"
    awk -F"$tab" -v OFS="$tab" '{ print $1, $14, $10, $11 }' "$scratch/rows.all" | sort -u |
        cat >"$scratch/images.now" || return 1
    images=$(cut -f3 "$scratch/images.now" | sort -u)
    [ -n "$images" ] || { : >"$scratch/image_rows"; }
    # shellcheck disable=SC2086
    [ -z "$images" ] || docker image inspect --format "$image_row" $images >"$scratch/image_rows" || return 1
    while IFS=$tab read -r service name image hash; do
        keep_image "$service" "$image" || return 1
        digest=$(awk -F"$tab" -v image="$image" '$1 == image {
            n = split($5, digest, " ")
            for (i = 1; i <= n; i++) if (digest[i] !~ /^towline\//) { print digest[i]; exit }
        }' "$scratch/image_rows")
        printf '%s\t%s\t%s\t%s\t%s\n' "$service" "$name" "$image" "$hash" "${digest:--}" || return 1
    done <"$scratch/images.now" >"$scratch/images.kept" || return 1
    save "$folder/images" <"$scratch/images.kept" || return 1
    # built again for the same release, and without any name now
    printf '%s\n' "$images" | grep -vxFf - "$scratch/images.before" | while read -r image; do
        [ "$(docker image inspect --format '{{len .RepoTags}}' "$image" 2>/dev/null)" != 0 ] ||
            docker rmi "$image" >/dev/null 2>&1
    done
    # what the next build may need of the disk: the size of the images that were built (compose labels them)
    awk -F"$tab" -v project="$project" '$2 == project { sum += $3 } END { printf "%d\n", sum }' "$scratch/image_rows" |
        save "$folder/built"
}

# A row `ID PROJECT BYTES TAGS DIGESTS` for an image; PROJECT: that it was built for.
image_row="{{.Id}}$tab{{if .Config.Labels}}$project_of{{end}}$tab{{.Size}}$tab{{range .RepoTags}}{{.}} {{end}}\
$tab{{range .RepoDigests}}{{.}} {{end}}"

keep_image() { # SERVICE IMAGE-ID
    kept=$(kept_image "$project" "$1" "$release")
    ! awk -F"$tab" -v image="$2" -v kept="$kept" '
        $1 == image && index(" " $4, " " kept " ") { found = 1 } END { exit !found }' "$scratch/image_rows" || return 0
    # another image has it only where the release was kept before
    [ ! -s "$scratch/images.before" ] || ! docker image inspect --format . "$kept" >/dev/null 2>&1 || kept=$kept.again
    docker tag "$2" "$kept"
}

record_outcome() { # good|failed
    now=$(uptime_now)
    printf '%s %s\n' "$now" "$begun" | awk '{ printf "%.1f\n", $1 - $2 }' | save "$home/releases/$release/seconds" &&
        printf '%s\n' "$1" | save "$home/releases/$release/outcome"
}

keep_release() {
    [ "$release" != 0 ] || { record_zero; return; }
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
    use_compose_files "$release" plain
    compose config --format json >"$scratch/model" 2>/dev/null || { rm -f "$folder/model"; exit 0; }
    { pwd -P; cat "$scratch/model"; } | save "$folder/model"
)

keep_downtime() { [ ! -f "$scratch/downtime" ] || save "$folder/downtime" <"$scratch/downtime"; }

remove_old_releases() { # all but release 0 and the newest $keep that have run, with the tags of their images
    newest_first "$home/releases" | while read -r id; do
        case $id in 0 | *.part) continue ;; esac
        # without an outcome it is about to run: it does not count, but one older than all that are kept never will
        [ "$keep" -gt 0 ] || printf '%s\n' "$id"
        [ ! -e "$home/releases/$id/outcome" ] || keep=$((keep - 1))
    done >"$scratch/old"
    while read -r id; do
        [ "$id" = "$release" ] || [ "$id" = "$(cat "$home/before" 2>/dev/null)" ] && continue
        while IFS=$tab read -r service _ _; do
            kept=$(kept_image "$project" "$service" "$id")
            docker rmi "$kept" "$kept.again" >/dev/null 2>&1
        done 2>/dev/null <"$home/releases/$id/images"
        rm -rf "$home/releases/${id:?}"
    done <"$scratch/old"
}

remove_old_runs() { # all but the newest 10, and never one that is at work: least of all this one
    newest_first "$home/run" | tail -n +11 | while read -r id; do
        [ "$id" = "${run##*/}" ] || is_running "$home/run/$id" || rm -rf "$home/run/${id:?}"
    done
}

# Gives the images of a release their names back, by what was noted of them: a tag may have moved on since. Where an
# image is gone: pulled by its digest, if it was pulled, else built again from the release's own files. 1: neither.
restore_images() { # RELEASE
    [ "$1" != 0 ] || { restore_zero_images; return; }
    [ -s "$home/releases/$1/images" ] || return 0
    while IFS=$tab read -r service name image _ digest; do
        if docker image inspect "$image" >/dev/null 2>&1 || pull_again "$image" "${digest:--}"; then
            case $name in
                *@sha256:*) docker image inspect "$name" >/dev/null 2>&1 || docker pull "$name" || return 1 ;;
                *) give_name "$image" "$name" || return 1 ;;
            esac
        else make_image_again "$1" "$service" || return 1; fi
    done <"$home/releases/$1/images"
}

give_name() { # IMAGE-ID NAME: not where that is an id, or the beginning of one
    case $2 in
        sha256:*) return 0 ;;
        *[!0123456789abcdef]*) ;;
        *) case $1 in sha256:"$2"*) return 0 ;; esac ;;
    esac
    docker tag "$1" "$2"
}

pull_again() { # IMAGE-ID DIGEST: 0 when it is that very image
    [ "$2" != - ] && docker pull "$2" || return 1
    [ "$(docker image inspect --format '{{.Id}}' "$2" 2>/dev/null)" = "$1" ]
}

make_image_again() { # RELEASE SERVICE: somebody removed the kept image
    (
        use_compose_files "$1"
        cd "$home/releases/$1/files" || exit 1
        if compose config | awk -v service="  $2:" '
            /^  [^ ]/ { inside = $0 == service } inside && /^    build:/ { found = 1 } END { exit !found }'; then
            event rebuild service "$2"
            compose build "$2"
        else
            event image_gone service "$2"
            printf 'the image that release %s ran %s with is gone, here and in its registry\n' "$1" "$2"
            exit 1
        fi
    )
}
