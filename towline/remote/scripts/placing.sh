#!/bin/sh
# placing.sh: moves, sets aside and removes in the live folder. Functions only: runner.sh sources it; live.sh calls
# `make_changes` and `return_asides`.
#
# A container may write to a folder that it mounts, and make a symlink in the place of any folder in there. So every
# change is made from within its folder, by names without a slash, after `enter` has seen where it really is: what is
# done to `.` and `NAME` cannot be led elsewhere. A command is started for each folder, not for each file.
#
# The file $scratch/todo has a row `ACTION FOLDER NAME [MODE]` for each change; a FOLDER is relative to the live folder:
# `.` for itself, else `./PATH`. The run's file `asides` has a row `FOLDER NAME KEPT` for each path that it
# has set aside.
# shellcheck disable=SC2154,SC2317  # runner.sh and live.sh set these; functions are called by name

enter() { # FOLDER of the live folder: goes there. Exit code 1: a symlink leads elsewhere
    expected=$real${1#.}
    cd -P -- "$expected" && [ "$PWD" = "$expected" ] && return
    printf '%s: not a folder of its own; nothing is written through it\n' "$1"
    return 1
}

path_of() { path=$1/$2; printf '%s\n' "${path#./}"; }       # FOLDER NAME

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# Does what $scratch/todo says, with the copies in the folder STAGE. Exit code 1: it failed; 2: something has come where
# nothing was, and was left alone.
make_changes() { # STAGE
    stage=$1 come_between=''
    real=$(cd -P -- "$live" && pwd) || return 1
    rows_of aside && each_row set_aside && rows_of remove && in_each_folder ./ remove_names &&
        rows_of rmdir && in_each_folder ./ remove_folders && rows_of vacate && each_row vacate &&
        rows_of add && in_each_folder "" add_files && rows_of put && in_each_folder "" put_files &&
        rows_of rewrite && each_row rewrite && change_modes || return 1
    [ -z "$come_between" ] || return 2
}

rows_of() { # ACTION: its rows without the action, into $scratch/rows
    sed -n "s/^$1$tab//p" "$scratch/todo" | cat >"$scratch/rows"
}

# Calls `COMMAND NAME…` in each folder of $scratch/rows, BEFORE in front of each name: `./`, or nothing for the path of
# its copy.
in_each_folder() { # BEFORE COMMAND
    before=$1 command=$2 folder=''
    set --
    while IFS=$tab read -r in name; do
        if [ "$in" != "$folder" ] || [ $# -ge 200 ]; then
            [ $# -eq 0 ] || { enter "$folder" && "$command" "$@"; } || return 1
            set --
            folder=$in prefix=${before:-$stage/$in/}
        fi
        set -- "$@" "$prefix$name"
    done <"$scratch/rows"
    [ $# -eq 0 ] || { enter "$folder" && "$command" "$@"; }
}

each_row() { # COMMAND: calls `COMMAND FOLDER NAME` in the folder of each row of $scratch/rows
    while IFS=$tab read -r in name; do
        enter "$in" && "$1" "$in" "$name" || return 1
    done <"$scratch/rows"
}

remove_names() { rm -f -- "$@"; }

remove_folders() { rmdir -- "$@" 2>/dev/null || :; }        # those that hold nothing else

put_files() { mv -f -- "$@" .; }

add_files() { # does not replace what has come to be there
    mv -n -- "$@" . || :
    for copy; do ! is_there "$copy" || come_between=yes; done
}

vacate() { # FOLDER NAME: after our own files have left it; an empty one is what Docker makes for a missing mount
    [ ! -d "./$2" ] || rmdir "./$2" 2>/dev/null || set_aside "$1" "$2"
}

# A file that is mounted by itself into a container that will only be told to read it again: it must stay the same file.
# What has been opened is told by its descriptor; the name may lead elsewhere by then.
rewrite() { # FOLDER NAME
    [ -f "./$2" ] && [ ! -L "./$2" ] || return 1
    {
        [ "$(readlink /proc/self/fd/8)" = "$PWD/$2" ] && cat "$stage/$1/$2" >/proc/self/fd/8
    } 8<"./$2" && rm -f -- "$stage/$1/$2"
}

change_modes() {
    sed -n "s/^chmod$tab//p" "$scratch/todo" | cat >"$scratch/modes" || return 1
    cut -f3 "$scratch/modes" | sort -u | cat >"$scratch/different" || return 1
    while read -r mode; do
        awk -F"$tab" -v mode="$mode" '$3 == mode "" { print $1 "\t" $2 }' "$scratch/modes" |
            cat >"$scratch/rows" && in_each_folder ./ change_mode || return 1
    done <"$scratch/different"
}

change_mode() { # PATH…
    for name; do [ ! -L "$name" ] || return 1; done
    chmod "$mode" "$@" 2>/dev/null || by_container chmod "$mode" "$@"
}

# --- owners -----------------------------------------------------------------------------------------------------------

set_owners() { # RELEASE: those that x-towline.modes gives, in its file `owners`: rows `UID:GID PATH`
    [ -s "$home/releases/$1/owners" ] || return 0
    cut -f2 "$home/releases/$1/owners" | tr '\n' '\0' |
        (cd "$live" && xargs -0 stat -c "%u:%g$tab%n" -- 2>/dev/null) | awk -F"$tab" '
            FILENAME == ARGV[1] { wanted[$2] = $1; next }
            wanted[$2] != $1 {
                name = $2
                sub(/^.*\//, "", name)
                folder = substr($2, 1, length($2) - length(name) - 1)
                print (folder == "" ? "." : "./" folder) "\t" name "\t" wanted[$2]
            }' "$home/releases/$1/owners" - | LC_ALL=C sort | cat >"$scratch/owners" || return 1
    cut -f3 "$scratch/owners" | sort -u | cat >"$scratch/different" || return 1
    while read -r owner; do
        awk -F"$tab" -v owner="$owner" '$3 == owner { print $1 "\t" $2 }' "$scratch/owners" |
            cat >"$scratch/rows" && in_each_folder ./ change_owner || return 1
    done <"$scratch/different"
}

change_owner() { # PATH…: a symlink itself
    chown -h "$owner" "$@" 2>/dev/null || by_container chown -h "$owner" "$@"
}

# What the login may not do, root in a container may, which sees nothing but the live folder. Of the stack's images the
# first is used that has the command.
by_container() { # COMMAND [WORD]…: in this folder, which is one of the live folder
    command=$1
    shift
    cat "$scratch/images" "$home/releases/$release/images" "$home/releases/$previous/images" 2>/dev/null |
        awk -F"$tab" '{ image = NF > 1 ? $3 : $1 } !seen[image]++ { print image }' | {
            while read -r image; do
                docker run --rm --pull never --network none --user 0:0 --log-driver none --entrypoint "$command" \
                    --volume "$live:/live" --workdir "/live${PWD#"$real"}" "$image" "$@" </dev/null && exit 0
            done
            exit 1
        } && return
    printf 'neither this login nor an image of the stack could %s %s\n' "$command" "$*"
    return 1
}

# --- what is set aside ------------------------------------------------------------------------------------------------

set_aside() { # FOLDER NAME: it stays there under another name, which nothing has had
    choose_name "$2"
    # nothing returns what the way back sets aside, so it does without the row on a full disk
    printf '%s\t%s\t%s\n' "$1" "$2" "$kept" >>"$run/asides" || [ -e "$scratch/going_back" ] || return 1
    # what somebody had when the first release came is release 0's, whichever release took its place
    [ -e "$scratch/going_back" ] || [ ! -d "$home/releases/0" ] ||
        printf '%s\t%s\t%s\n' "$1" "$2" "$kept" >>"$home/releases/0/asides" || return 1
    mv -n -- "./$2" "./$kept"
    is_there "./$kept" || return 1
    event aside path "$(path_of "$1" "$2")" kept "$(path_of "$1" "$kept")" || :
}

choose_name() { # NAME: sets $kept to a name that is free here
    number=1
    suffix=.before-${run##*/}
    kept=$(shorten "$1" $((255 - ${#suffix})))$suffix
    while is_there "./$kept"; do
        number=$((number + 1))
        suffix=.before-${run##*/}-$number
        kept=$(shorten "$1" $((255 - ${#suffix})))$suffix
    done
}

shorten() { # NAME BYTES: at the end of a character of UTF-8
    printf '%s\n' "$1" | LC_ALL=C awk -v bytes="$2" '
        function goes_on(letter) { return letter ~ /[\200-\277]/ }
        length($0) > bytes {
            while (bytes > 1 && goes_on(substr($0, bytes + 1, 1))) bytes--
            $0 = substr($0, 1, bytes)
        }
        { print }'
}

# What an apply of this run has set aside is a row of $scratch/asides now that another one goes back: it gets its name
# again where the manifest WANTED does not bring that path. Where it brings the same content, it is of no use any more;
# to release 0 it goes back itself, with its owner. The last one goes first, to release 0 the first one.
return_asides() { # WANTED
    [ -s "$scratch/asides" ] || return 0
    case $1 in "$home/releases/0/manifest") to_zero=yes ;; *) to_zero='' ;; esac
    awk -F"$tab" -v to_zero="$to_zero" '
        FILENAME == ARGV[1] {
            for (path = $5; !(path in brings); path = substr(path, 1, RSTART - 1)) {
                brings[path]
                if (!match(path, /\/[^\/]*$/)) break
            }
            next
        }
        { row[++rows] = (substr($1 "/" $2, 3) in brings ? "drop_aside" : "return_aside") "\t" $0 }
        END {
            if (to_zero) for (n = 1; n <= rows; n++) print row[n]
            else for (; rows > 0; rows--) print row[rows]
        }
    ' "$1" "$scratch/asides" | cat >"$scratch/returns" || return 1
    while IFS=$tab read -r action in name kept; do
        # its folder may have gone with the files of a release
        if [ -d "$real${in#.}" ] && enter "$in"; then "$action" "$in" "$name" "$kept" || return 1; fi
    done <"$scratch/returns"
}

return_aside() { # FOLDER NAME KEPT
    if is_there "./$3" && ! is_there "./$2"; then
        mv -n -- "./$3" "./$2"
        tell_returned "$@"
    fi
}

drop_aside() { # FOLDER NAME KEPT
    if [ -L "./$3" ]; then
        [ -L "./$2" ] && [ "$(readlink "./$2")" = "$(readlink "./$3")" ] || return 0
    else
        [ -f "./$3" ] && [ -f "./$2" ] && [ ! -L "./$2" ] && cmp -s "./$2" "./$3" || return 0
    fi
    if [ -n "$to_zero" ]; then mv -f -- "./$3" "./$2"; else rm -f -- "./$3"; fi
    tell_returned "$@"
}

tell_returned() { # FOLDER NAME KEPT
    is_there "./$3" || event returned path "$(path_of "$1" "$2")" kept "$(path_of "$1" "$3")" || :
}
