#!/bin/sh
# live.sh: makes the live folder hold a release's files, and loses nothing else that is there. Functions only: runner.sh
# sources it; `stage` and `apply` are commands of steps.
#
# Beside the live folder, in ROOT/.towline/STACK, it keeps
#   live.manifest   the manifest of the release whose files are live; of both while `apply` goes from one to the other
#   live.stat       the state of every live file that has the content that live.manifest has, a row of file_state each
# and in the run's folder `touched`, made before the first change, and `applied`, the release whose files are live.
# shellcheck disable=SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

# Writes into $scratch/todo what makes the live folder hold the files of the manifest WANTED: a row `ACTION PATH` each.
# To be done in this order: aside, remove, rmdir, vacate (make room for a file), then chmod (with the mode behind the
# path), mkdir, write. A file that neither a release brought (OURS is its manifest) nor is wanted is somebody's data:
# set aside, never lost.
plan_changes() { # OURS WANTED
    cut -f5 "$1" "$2" | sort -u >"$scratch/paths"
    recorded=$home/live.stat
    [ -f "$recorded" ] || recorded=/dev/null
    read_live_files "$recorded"
    awk -F"$tab" '
        function number(digits, base,  i, n) {
            for (i = 1; i <= length(digits); i++) n = n * base + index("0123456789abcdef", substr(digits, i, 1)) - 1
            return n
        }
        function content() { return $1 == "l" ? "link:" $6 : $1 == "d" ? "dir" : $4 }
        FILENAME == ARGV[1] { ours[$5, content()]; as_recorded[$5] = content(); known[$5]; next }
        FILENAME == ARGV[2] { wanted[$5] = content(); type[$5] = $1; mode[$5] = $2; known[$5]; next }
        FILENAME == ARGV[3] { read[$2] = $1; next }
        {
            live[$5] = $1 ~ /^4/ ? "dir" : ($5 in read) ? read[$5] : as_recorded[$5]
            mode_of[$5] = number(substr($1, length($1) - 2), 16) % 4096
        }
        function is_through_link(path,  n, part, i, parent) {   # then it is a path in what the symlink leads to
            n = split(path, part, "/")
            for (i = 1; i < n; i++) {
                parent = parent (i > 1 ? "/" : "") part[i]
                if (parent in live && live[parent] ~ /^link:/) return 1
            }
            return 0
        }
        function removal(path) { return ((path, live[path]) in ours) ? "remove" : "aside" }
        END {
            for (path in known) if (path in live && index(path, "/") && is_through_link(path)) elsewhere[path]
            for (path in elsewhere) delete live[path]
            for (path in known) {
                if (!(path in wanted)) {
                    if (path in live) print (live[path] == "dir" ? "rmdir" : removal(path)) "\t" path
                } else if (type[path] == "d") {
                    if (path in live && live[path] != "dir") print removal(path) "\t" path
                    if (!(path in live) || live[path] != "dir") print "mkdir\t" path
                } else if (!(path in live)) print "write\t" path
                else if (live[path] == wanted[path]) {
                    if (type[path] == "f" && mode_of[path] != number(mode[path], 8))
                        print "chmod\t" path "\t" mode[path]
                } else {
                    if (live[path] == "dir") print "vacate\t" path
                    else if (!((path, live[path]) in ours)) print "aside\t" path
                    print "write\t" path
                }
            }
        }' "$1" "$2" "$scratch/contents" "$scratch/states" | sort >"$scratch/todo"
}

manifest_of() { # RELEASE, or ''
    if [ -n "$1" ]; then printf '%s\n' "$home/releases/$1/manifest"; else echo /dev/null; fi
}

live_manifest() { if [ -f "$home/live.manifest" ]; then printf '%s\n' "$home/live.manifest"; else echo /dev/null; fi; }

stage() { # RELEASE: makes the copies that `apply` will need, so that the services are not down while files are copied
    plan_changes "$(live_manifest)" "$(manifest_of "$1")"
    [ "$(head -n 1 "$scratch/staged" 2>/dev/null)" = "$1" ] || {
        rm -rf "$scratch/stage"
        printf '%s\n' "$1" >"$scratch/staged"
    }
    mkdir -p "$scratch/stage"
    sed -n "s/^write$tab/.\//p" "$scratch/todo" |
        awk 'NR == FNR { done[$0]; next } !($0 in done)' "$scratch/staged" - >"$scratch/unstaged"
    [ -s "$scratch/unstaged" ] || return 0
    cat "$scratch/unstaged" >>"$scratch/staged"
    # -m: these are new files of today; a web server tells them by that from yesterday's of the same size
    # xargs, since not every busybox tar has -T
    # shellcheck disable=SC2016
    (cd "$home/releases/$1/files" && tr '\n' '\0' <"$scratch/unstaged" |
        xargs -0 sh -c 'tar -cf - "$@" | (cd "$0" && tar -xpomf -)' "$scratch/stage")
}

apply() { # RELEASE, '' for none: the live folder holds its files, and whatever else was there
    : >"$run/touched"
    ours=$(live_manifest) wanted=$(manifest_of "$1") in_place=$home/releases/$1/in_place
    stage "$1" || return 1
    rm -f "$home/live.stat"      # first: with two releases' files in the manifest, nothing is known by its state alone
    cat "$ours" "$wanted" | sort -u >"$home/live.manifest.new" &&
        mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    if [ ! -d "$live" ] && [ -n "$1" ]; then
        mv "$scratch/stage" "$live" || return 1
        grep "^mkdir$tab" "$scratch/todo" >"$scratch/folders" || :
        mv "$scratch/folders" "$scratch/todo"
    fi
    mkdir -p "$live" && make_changes || return 1
    printf '%s\n' "$1" >"$run/applied"
    cat "$wanted" >"$home/live.manifest.new" && mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    record_states
}

make_changes() { # as $scratch/todo says
    grep -E "^(aside|remove|rmdir|vacate)$tab" "$scratch/todo" >"$scratch/removals" || :
    grep -E "^(chmod|mkdir|write)$tab" "$scratch/todo" >"$scratch/additions" || :
    while IFS=$tab read -r action path; do
        remove_path "$action" "$path" || return 1
    done <"$scratch/removals"
    while IFS=$tab read -r action path mode; do
        add_path "$action" "$path" "$mode" || return 1
    done <"$scratch/additions"
}

remove_path() { # ACTION PATH
    case $1 in
        remove) rm -f -- "$live/$2" && remove_empty_parents "$2" ;;
        rmdir) rmdir -- "$live/$2" 2>/dev/null || : ;;
        vacate) # after our own files have left the folder; an empty one is what Docker makes for a missing mount
            [ ! -d "$live/$2" ] || rmdir -- "$live/$2" 2>/dev/null || remove_path aside "$2" ;;
        aside)
            mv -- "$live/$2" "$live/$2.before-${run##*/}" && event aside path "$2" kept "$2.before-${run##*/}" ;;
    esac
}

remove_empty_parents() { # PATH: folders that held nothing else go with their last file
    parent=${1%/*}
    while [ "$parent" != "$1" ] && [ "$parent" != . ] && rmdir -- "$live/$parent" 2>/dev/null; do
        case $parent in */*) parent=${parent%/*} ;; *) break ;; esac
    done
    return 0
}

add_path() { # ACTION PATH MODE
    case $2 in */*) [ -d "$live/${2%/*}" ] || mkdir -p -- "$live/${2%/*}" || return 1 ;; esac
    case $1 in
        write)
            if [ -f "$live/$2" ] && [ ! -L "$live/$2" ] && grep -qxF -e "$2" "$in_place" 2>/dev/null; then
                # mounted by itself into a container that will only be told to read it again: it must stay the same file
                cat "$scratch/stage/$2" >"$live/$2" && rm -f -- "$scratch/stage/$2"
                return
            fi
            [ ! -L "$live/$2" ] || rm -f -- "$live/$2"     # mv would move into the folder that it leads to
            mv -f -- "$scratch/stage/$2" "$live/$2" ;;
        chmod) chmod "$3" -- "$live/$2" ;;
        mkdir) mkdir -p -- "$live/$2" ;;
    esac
}

# Writes live.stat: a file that still has the state that is in there need not be read again.
record_states() {
    recorded=$home/live.stat
    [ -f "$recorded" ] || recorded=/dev/null
    cut -f5 "$home/live.manifest" >"$scratch/paths"
    read_live_files "$recorded"
    # A file changed within this very second could change again and look the same: leave it to be read next time.
    awk -F"$tab" -v now="$(date +%s)" '
        FILENAME == ARGV[1] { wanted[$5] = $1 == "l" ? "link:" $6 : $4; next }
        FILENAME == ARGV[2] { if ($1 != wanted[$2]) differs[$2]; next }
        $3 < now - 1 && !($5 in differs)
    ' "$home/live.manifest" "$scratch/contents" "$scratch/states" >"$home/live.stat.new" &&
        mv "$home/live.stat.new" "$home/live.stat"
}
