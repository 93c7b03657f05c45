#!/bin/sh
# bring_data.sh: brings the data that a project's containers mounted elsewhere into the live folder, and back. Functions
# only: runner.sh sources it. Commands of steps: bring_data, return_data, remove_sources.
#
# In the run's folder `brought` has a row `HOW SOURCE PATH` for each of them. HOW: moved (SOURCE is gone), copied (PATH
# was not there), or added (PATH, a file of a folder that was there already)
# shellcheck disable=SC2154  # runner.sh sets these

stop_users() { # SOURCE: the project's containers that mount it, since nothing may write to it while it is copied
    users=$(project_containers --filter "volume=$1") || return 1
    # shellcheck disable=SC2086
    [ -z "$users" ] || docker stop $users
}

bring_data() { # copy|move [SOURCE PATH]…
    : >"$run/touched"
    how=$1
    shift
    mkdir -p "$live" || return 1
    while [ $# -gt 1 ]; do
        stop_users "$1" && bring_path "$how" "$1" "$2" || return 1
        shift 2
    done
}

bring_path() { # copy|move SOURCE PATH
    target=$live/$3
    case $3 in */*) mkdir -p "$live/${3%/*}" || return 1 ;; esac
    [ ! -L "$target" ] || { printf '%s is a symlink there\n' "$target"; return 1; }
    [ ! -d "$target" ] || rmdir "$target" 2>/dev/null || { add_to_folder "$2" "$3"; return; }
    if [ "$1" = move ] && [ "$(stat -c %d "$2")" = "$(stat -c %d "$live")" ]; then
        printf 'moved\t%s\t%s\n' "$2" "$3" >>"$run/brought"
        mv "$2" "$target"
    else
        printf 'copied\t%s\t%s\n' "$2" "$3" >>"$run/brought"
        cp -a "$2" "$target" && compare_copies "$2" "$target"
    fi
}

# What is there already is the release's, or somebody's: it stays.
add_to_folder() { # SOURCE PATH
    (cd "$1" && find . ! -type d) | LC_ALL=C sort >"$scratch/source"
    (cd "$live/$2" && find . ! -type d) | LC_ALL=C sort >"$scratch/target"
    awk 'FILENAME == ARGV[1] { there[$0]; next } !($0 in there)' "$scratch/target" "$scratch/source" >"$scratch/added"
    [ -s "$scratch/added" ] || return 0
    sed "s|^\./|added$tab$1$tab$2/|" "$scratch/added" >>"$run/brought"
    # shellcheck disable=SC2016
    (cd "$1" && tr '\n' '\0' <"$scratch/added" |
        xargs -0 sh -c 'tar -cf - -- "$@" | (cd "$0" && tar -xpof -)' "$live/$2") || return 1
    list_copies "$1" <"$scratch/added" >"$scratch/source.list"
    list_copies "$live/$2" <"$scratch/added" >"$scratch/target.list"
    lists_agree "$1"
}

lists_agree() { # SOURCE
    ! cmp -s "$scratch/source.list" "$scratch/target.list" || return 0
    printf 'the copy of %s differs from it\n' "$1"
    return 1
}

# Owner, group, mode and path, then the content of files, for the paths on stdin
list_copies() { # FOLDER
    cat >"$scratch/listed"
    (
        cd "$1" || exit 1
        tr '\n' '\0' <"$scratch/listed" | xargs -0 stat -c '%u %g %a %F %n' --
        while IFS= read -r path; do
            [ ! -f "$path" ] || [ -L "$path" ] || printf '%s\n' "$path"
        done <"$scratch/listed" | tr '\n' '\0' | xargs -0 sha256sum -- /dev/null
    )
}

compare_copies() { # SOURCE TARGET: 1 when the one is not as the other
    if [ -d "$1" ]; then
        (cd "$1" && find .) | LC_ALL=C sort | list_copies "$1" >"$scratch/source.list"
        (cd "$2" && find .) | LC_ALL=C sort | list_copies "$2" >"$scratch/target.list"
    else
        { stat -c '%u %g %a %F' "$1"; sha256sum <"$1"; } >"$scratch/source.list"
        { stat -c '%u %g %a %F' "$2"; sha256sum <"$2"; } >"$scratch/target.list"
    fi
    lists_agree "$1"
}

return_data() { # what bring_data has done is undone
    [ -s "$run/brought" ] || return 0
    while IFS=$tab read -r how source path; do
        stop_users "$live/$path" || return 1
        case $how in
            moved) [ ! -e "$live/$path" ] || [ -e "$source" ] || mv "$live/$path" "$source" || return 1 ;;
            *) rm -rf "${live:?}/$path" || return 1 ;;
        esac
    done <"$run/brought"
}

remove_sources() { # of what had to be copied to be moved: it runs healthy on the copy
    [ -s "$run/brought" ] || return 0
    while IFS=$tab read -r how source path; do
        [ "$how" = moved ] || [ ! -e "$live/$path" ] || case $how in
            copied) rm -rf "${source:?}" ;;      # where files were added to others, the source stays
        esac
    done <"$run/brought"
}
