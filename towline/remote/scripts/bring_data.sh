#!/bin/sh
# bring_data.sh: brings the data that a project's containers mounted elsewhere into the live folder, and back. Functions
# only: runner.sh sources it. Commands of steps: bring_data, return_data, keep_moves, and move_again for a rollback.
#
# In the run's folder `brought` has a row `HOW SOURCE PATH` for each thing that this run has brought. HOW: moved (SOURCE
# is gone), copied (PATH was not there), or added (PATH, in a folder that was there already). releases/0 in
# ROOT/.towline/STACK has, written before anything is done, so that the next run knows of it when this one is killed:
#   moved    the rows of what was moved or copied, by any run: what was moved goes back with release 0
#   adding   rows `SOURCE PATH FILE` while files are added to a folder: they may be torn
# A copy gets its name when it is whole.
# shellcheck disable=SC2034,SC2154  # runner.sh sets these, placing.sh reads them

stop_users() { # SOURCE: the project's containers that mount it, since nothing may write to it while it is copied
    users=$(project_containers --filter "volume=$1") || return 1
    # shellcheck disable=SC2086
    [ -z "$users" ] || docker stop $users
}

bring_data() { # copy|move [SOURCE PATH]…
    : >"$run/touched"
    how=$1
    shift
    mkdir -p "$live" && real=$(cd -P -- "$live" && pwd) || return 1
    clear_torn || return 1
    while [ $# -gt 1 ]; do
        stop_users "$1" && bring_path "$how" "$1" "$2" || return 1
        shift 2
    done
}

bring_path() { # copy|move SOURCE PATH
    target=$live/$3
    split_path "$3" && make_folder "$in" || return 1
    [ ! -L "$target" ] || { printf '%s is a symlink there\n' "$target"; return 1; }
    if [ -e "$target" ] && was_brought copied "$2" "$3"; then
        if compare_copies "$2" "$target" >/dev/null; then record_brought copied "$2" "$3"; return; fi
        put_aside "$3" || return 1      # what runs now has gone on since
    fi
    [ ! -d "$target" ] || rmdir "$target" 2>/dev/null || { add_to_folder "$2" "$3"; return; }
    [ ! -e "$target" ] || put_aside "$3" || return 1
    if [ "$1" = move ] && [ "$(stat -c %d "$2")" = "$(stat -c %d "$live")" ]; then
        record_brought moved "$2" "$3" && (enter "$in" && mv "$2" "./$name")
    else
        rm -rf "$scratch/copy"
        cp -a "$2" "$scratch/copy" && compare_copies "$2" "$scratch/copy" && record_brought copied "$2" "$3" &&
            (enter "$in" && mv "$scratch/copy" "./$name")
    fi
}

split_path() { # PATH: sets in, the folder as `enter` takes it, and name
    case $1 in */*) in=./${1%/*} name=${1##*/} ;; *) in=. name=$1 ;; esac
}

make_folder() { # FOLDER of the live folder, with those that it is in; none is made behind a symlink
    [ "$1" != . ] || return 0
    case ${1#./} in */*) (make_folder "${1%/*}") || return 1 ;; esac
    (enter "${1%/*}" && { [ -d "./${1##*/}" ] || mkdir "./${1##*/}"; }) && (enter "$1")
}

was_brought() { # HOW SOURCE PATH
    grep -qxF -e "$1$tab$2$tab$3" "$home/releases/0/moved" 2>/dev/null
}

record_brought() { # HOW SOURCE PATH
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$run/brought" || return 1
    was_brought "$@" || {
        # of a path the last row counts
        [ ! -s "$home/releases/0/moved" ] || awk -F"$tab" -v path="$3" '$3 != path' "$home/releases/0/moved"
        printf '%s\t%s\t%s\n' "$1" "$2" "$3"
    } | save "$home/releases/0/moved"
}

put_aside() { # PATH
    split_path "$1" && (enter "$in" && set_aside "$in" "$name")
}

# Files that a run was adding when it was killed are put aside, unless they are whole.
clear_torn() {
    [ -s "$home/releases/0/adding" ] || return 0
    while IFS=$tab read -r source path file; do
        target=$live/$path/$file
        [ ! -e "$target" ] || cmp -s "$source/$file" "$target" || put_aside "$path/$file" || return 1
    done <"$home/releases/0/adding"
    rm -f "$home/releases/0/adding"
}

# What is there already is the release's, or somebody's: it stays. A folder that is not there is added as a whole; all
# is copied by names without a slash from within its folder, see placing.sh.
add_to_folder() { # SOURCE PATH
    (cd "$1" && find .) | LC_ALL=C sort >"$scratch/source"
    (cd "$live/$2" && find .) | LC_ALL=C sort >"$scratch/target"
    awk '
        function folder_of(path) { sub(/\/[^\/]*$/, "", path); return path }
        FILENAME == ARGV[1] { there[$0]; next }
        !($0 in there) && (folder_of($0) in there)
    ' "$scratch/target" "$scratch/source" >"$scratch/added"
    [ -s "$scratch/added" ] || return 0
    case $2 in .) to='' ;; *) to=$2/ ;; esac
    awk -v from="added$tab$1/" -v to="$tab$to" '{ path = substr($0, 3); print from path to path }' "$scratch/added" \
        >>"$run/brought" &&
        awk -v row="$1$tab$2$tab" '{ print row substr($0, 3) }' "$scratch/added" | save "$home/releases/0/adding" ||
        return 1
    awk -v OFS="$tab" -v to="${to:+/${to%/}}" '{
        path = substr($0, 3)
        name = path
        sub(/^.*\//, "", name)
        folder = substr(path, 1, length(path) - length(name) - 1)
        print "." to (folder == "" ? "" : "/" folder), name
    }' "$scratch/added" | LC_ALL=C sort >"$scratch/rows"
    from=$1 below=${to%/}
    in_each_folder ./ copy_here || return 1
    # shellcheck disable=SC2016
    tr '\n' '\0' <"$scratch/added" | (cd "$1" && xargs -0 sh -c 'find "$@"' find) | LC_ALL=C sort >"$scratch/all_added"
    list_copies "$1" <"$scratch/all_added" >"$scratch/source.list"
    list_copies "$live/$2" <"$scratch/all_added" >"$scratch/target.list"
    lists_agree "$1" && sync_disk "$live" && rm -f "$home/releases/0/adding"
}

copy_here() { # NAME…: from the same folder of the source, into this one
    inside=${PWD#"$real"} inside=${inside#/}
    [ -z "$below" ] || inside=${inside#"$below"}
    for name; do cp -a -- "$from/${inside#/}/$name" . || return 1; done
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

# What bring_data has done is undone: by this run, and, for what was moved, by those before it. What the new containers
# have written to a copy is set aside.
return_data() {
    real=$(cd -P -- "$live" 2>/dev/null && pwd) || return 0
    if [ -s "$run/brought" ]; then
        while IFS=$tab read -r how source path; do
            [ "$how" = moved ] || [ ! -e "$source" ] || remove_copy "$source" "$path" || return 1
        done <"$run/brought"
        rm -f "$home/releases/0/adding"
    fi
    [ -s "$home/releases/0/moved" ] || return 0
    while IFS=$tab read -r _ source path; do
        split_path "$path"
        [ -e "$source" ] || ! is_there "$live/$path" ||
            { stop_users "$live/$path" && (enter "$in" && [ ! -L "./$name" ] && mv "./$name" "$source"); } || return 1
    done <"$home/releases/0/moved"
}

remove_copy() { # SOURCE PATH
    split_path "$2"
    [ -d "$live/${in#./}" ] && is_there "$live/$2" || return 0
    (enter "$in") || { printf '%s stays as it is\n' "$2"; return 0; }     # not what was copied any more
    stop_users "$live/$2" || return 1
    if [ ! -L "$live/$2" ] && compare_copies "$1" "$live/$2" >/dev/null; then (enter "$in" && rm -rf "./$name")
    else put_aside "$2"; fi
}

# Once it runs healthy: what had to be copied to be moved is removed where it was. Where files were added to others, the
# source stays.
keep_moves() {
    [ -s "$run/brought" ] || return 0
    while IFS=$tab read -r how source path; do
        if [ "$how" != copied ] || [ ! -e "$live/$path" ]; then continue; fi
        # first its name: half of it must not be taken for the data when this is killed
        # a folder that a disk is mounted on has to stay
        if mv "$source" "${source:?}.moved-${run##*/}"; then rm -rf "$source.moved-${run##*/}"
        else printf '%s could not be removed: its copy in %s is in use now\n' "$source" "$live/$path"; fi
    done <"$run/brought"
}

move_again() {
    real=$(cd -P -- "$live" && pwd) || return 1
    [ -s "$home/releases/0/moved" ] || return 0
    while IFS=$tab read -r _ source path; do
        stop_users "$source" && split_path "$path" || return 1
        [ -e "$live/$path" ] || [ ! -e "$source" ] || (enter "$in" && mv "$source" "./$name") || return 1
    done <"$home/releases/0/moved"
}
