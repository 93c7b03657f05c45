#!/bin/sh
# release_zero.sh: release 0 is what ran before the first deploy: the Compose project as somebody started it, maybe from
# another folder. Functions only: runner.sh sources it, read_zero.sh is sent with it in front. Commands of steps:
# keep_release_zero, down_zero, up_zero.
#
# Reads the variables project, live (the live folder, absolute), scratch and, set by set_zero,
#   zero_folder     where the project was started, absolute; '' when its containers do not tell
#   zero_env        its --env-file, separated by commas
#   zero_files      its Compose files, absolute, a line each
# Beside what every release has (see releases.sh), releases/0 in ROOT/.towline/STACK holds
#   folder          zero_folder, unless that is the live folder
#   env_files       zero_env
#   made/           its containers, see made_again.sh
# shellcheck disable=SC2154  # see above

set_zero() { # FOLDER ENV-FILES FILE…
    zero_folder=$1 zero_env=$2
    shift 2
    zero_files=$(for file; do printf '%s\n' "$file"; done)
}

zero_from_release() { # RELEASE, its folder: as it was kept
    zero_folder=$(cat "$1/folder" 2>/dev/null || printf '%s\n' "$live") zero_env=$(cat "$1/env_files" 2>/dev/null)
    zero_files=$(tr : '\n' <"$1/compose_files" | while IFS= read -r file; do
        case $file in /* | '') printf '%s\n' "$file" ;; *) printf '%s\n' "$zero_folder/$file" ;; esac
    done)
}

runs_in_live() {
    [ -d "$live" ] && [ -d "$zero_folder" ] && [ "$(cd "$live" && pwd -P)" = "$(cd "$zero_folder" && pwd -P)" ]
}

# For COMPOSE_FILE. Files below the folder are named relative to it: in the live folder those of the release are meant.
zero_compose_files() {
    printf '%s\n' "$zero_files" |
        while IFS= read -r file; do printf '%s\n' "${file#"$zero_folder"/}"; done | paste -s -d : -
}

zero_compose() { # [WORD]…: `docker compose` with the project's own files, where it was started, whatever its profiles
    (
        [ -n "$zero_folder" ] && cd "$zero_folder" || exit 1
        COMPOSE_FILE=$(zero_compose_files) COMPOSE_PATH_SEPARATOR=:
        [ -z "$zero_env" ] || { COMPOSE_ENV_FILES=$zero_env; export COMPOSE_ENV_FILES; }
        export COMPOSE_FILE COMPOSE_PATH_SEPARATOR
        compose --project-directory "$zero_folder" --profile '*' "$@" </dev/null
    )
}

# Paths are related to the live folder only: elsewhere the same relative mount is another folder.
zero_model() { # the folder that paths of the model are relative to, then the model as JSON
    if runs_in_live; then (cd "$zero_folder" && pwd -P); else printf '%s\n' "$live"; fi
    zero_compose config --format json
}

# The files that the project is made of, as far as they lie in the live folder
zero_own_paths() {
    ! runs_in_live || { printf '%s\n' "$zero_files"; printf '%s\n' "$zero_env" | tr , '\n'; } |
        while IFS= read -r file; do
            case $file in "$zero_folder"/*) printf '%s\n' "${file#"$zero_folder"/}" ;; esac
        done
    echo .env
}

# The manifest of what the live folder has of the paths on stdin: files and symlinks, but none below a symlink.
zero_manifest() {
    LC_ALL=C sort -u >"$scratch/zero.paths"
    [ -d "$live" ] || return 0
    awk '{
        n = split($0, part, "/")
        path = part[1]
        for (i = 2; i <= n; i++) { print path; path = path "/" part[i] }
    }' "$scratch/zero.paths" | sort -u >"$scratch/zero.folders"
    (
        cd "$live" || exit 1
        tr '\n' '\0' <"$scratch/zero.folders" | xargs -0 stat -c "%f$tab%n" -- 2>/dev/null >"$scratch/zero.above"
        awk -F"$tab" '
            FILENAME == ARGV[1] { if ($1 ~ /^a/) link[$2 "/"]; next }
            { for (path in link) if (substr($0, 1, length(path)) == path) next; print }
        ' "$scratch/zero.above" "$scratch/zero.paths" | tr '\n' '\0' |
            xargs -0 stat -c "%f$tab%a$tab%s$tab%n" -- 2>/dev/null >"$scratch/zero.stat"
        awk -F"$tab" '$1 ~ /^8/ { print $4 }' "$scratch/zero.stat" | tr '\n' '\0' >"$scratch/zero.names"
        [ ! -s "$scratch/zero.names" ] || xargs -0 sha256sum -- <"$scratch/zero.names" 2>/dev/null |
            awk '{ if (sub(/^\\/, "")) gsub(/\\\\/, "\\"); print substr($0, 1, 64) "\t" substr($0, 67) }' \
                >"$scratch/zero.sums"
        {
            awk -F"$tab" '$1 ~ /^a/ { print $4 }' "$scratch/zero.stat" | while IFS= read -r path; do
                printf 'l\t0777\t0\t-\t%s\t%s\n' "$path" "$(readlink "$path")"
            done
            [ ! -s "$scratch/zero.names" ] || awk -F"$tab" '
                FILENAME == ARGV[1] { sum[$2] = $1; next }
                $4 in sum { printf "f\t%04d\t%s\t%s\t%s\t\n", $2, $3, sum[$4], $4 }
            ' "$scratch/zero.sums" "$scratch/zero.stat"
        } | LC_ALL=C sort -t "$tab" -k 5,5
    )
}

# --- commands of steps ------------------------------------------------------------------------------------------------

# Keeps what runs, before anything is touched: what the live folder has of the files that will be replaced, the images
# under tags of their own, and how to start it again.
keep_release_zero() { # FOLDER ENV-FILES FILE…
    set_zero "$@"
    part=$home/releases/0.part
    rm -rf "$part"
    mkdir -p "$part/files" || return 1
    { cut -f5 "$home/releases/$release/manifest"; zero_own_paths; } | zero_manifest | cat >"$part/manifest" || return 1
    if [ -s "$part/manifest" ]; then
        # shellcheck disable=SC2016
        (cd "$live" && cut -f5 "$part/manifest" | tr '\n' '\0' |
            xargs -0 sh -c 'tar -cf - -- "$@" | (cd "$0" && tar --numeric-owner -xpf -)' "$part/files") || return 1
        [ "$(grep -c . "$part/manifest")" -eq "$(cd "$part/files" && find . ! -type d | wc -l)" ] || return 1
    fi
    (umask 077; zero_model >"$part/model" 2>"$scratch/zero.wrong") || rm -f "$part/model"
    zero_compose_files >"$part/compose_files" || return 1
    [ -z "$zero_env" ] || printf '%s\n' "$zero_env" >"$part/env_files" || return 1
    runs_in_live || printf '%s\n' "$zero_folder" >"$part/folder" || return 1
    inspect_project "$service_of$tab{{.Config.Image}}$tab{{.Image}}$tab$config_hash_of" | sort -u |
        cat >"$part/images" || return 1
    [ -s "$part/images" ] && record_containers "$part/made" || return 1
    needed_images "$part" >"$scratch/needed"
    while IFS=$tab read -r service _ image _; do
        docker tag "$image" "$(kept_image "$project" "$service" 0)" ||
            ! grep -qxF "$image" "$scratch/needed" || return 1
    done <"$part/images"
    printf '{"id": "0", "at": "%s", "by": "", "git": ""}\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" >"$part/meta.json"
    printf 'good\n' >"$part/outcome" || return 1
    for record in moved adding; do      # what an earlier `adopt` did counts on
        [ ! -s "$home/releases/0/$record" ] || cp "$home/releases/0/$record" "$part/$record" || return 1
    done
    sync_disk "$part"
    rm -rf "$home/releases/0" && mv "$part" "$home/releases/0"
}

folder_of() { # RELEASE: where it runs
    cat "$home/releases/$1/folder" 2>/dev/null || printf '%s\n' "$live"
}

# Without its files: they may have been edited since, and the containers tell what there is to be taken down.
down_zero() {
    : >"$run/touched"
    (cd / && compose down --remove-orphans)
}

needed_images() { # RELEASE, its folder: of what ran
    awk -F"$tab" '$3 ~ /^(running|restarting|paused)$/ { print $5 }' "$1/made/containers"
}

# The names of its images. Of what did not run an image may be gone.
restore_zero_images() {
    [ -n "${undoing:-}" ] || need_binds || return 1
    needed_images "$home/releases/0" >"$scratch/needed"
    while IFS=$tab read -r _ name image _; do
        if docker image inspect "$image" >/dev/null 2>&1; then
            case $name in *@sha256:*) ;; *) give_name "$image" "$name" || return 1 ;; esac
        elif grep -qxF "$image" "$scratch/needed"; then
            printf 'the image %s, which ran before, is gone\n' "$name"
            return 1
        fi
    done <"$home/releases/0/images"
}

need_binds() { # what its containers mount is there, or comes back with it
    while IFS= read -r path; do
        case $path in "$live" | "$live"/*) continue ;; esac
        [ ! -e "$path" ] || continue
        ! cut -f2 "$home/releases/0/moved" 2>/dev/null | grep -qxF "$path" || continue
        printf '%s, which ran before mounts, is gone\n' "$path"
        return 1
    done <"$home/releases/0/made/binds"
}

up_zero() { # what ran runs again, and nothing that did not
    make_again "$home/releases/0/made" && read_states || return 1
    cut -f1 "$scratch/containers" | sort | uniq -c | awk -v OFS="$tab" '{ print $2, $1 }' >"$scratch/expected"
}

# It is not a release of ours that is live then.
record_zero() {
    printf '%s\n' "$previous" | save "$home/before" && rm -f "$home/current" && record_outcome good || return 1
    record_states || rm -f "$home/live.stat"
    sync_disk "$home"
}
