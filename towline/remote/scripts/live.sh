#!/bin/sh
# live.sh: makes the live folder hold a release's files, and loses nothing else that is there.
# shellcheck disable=SC2034,SC2154,SC2317  # sourced by runner.sh, whose settings and functions it uses; steps call it by name

# What the live folder holds of the paths that releases know: kind, mode, content. A file whose size, change time and inode are
# as they were noted after the last apply still has the content of that release; only the others are hashed.
look_at_live() { # HAVE WANT
    cut -f5 "$1" "$2" | sort -u >"$scratch/paths"
    [ -d "$live" ] || { : >"$scratch/now"; return; }
    (cd "$live" && tr '\n' '\0' <"$scratch/paths" | xargs -0 stat -c "%f$tab%s$tab%Z$tab%i$tab%n" -- 2>/dev/null) >"$scratch/look"
    [ -f "$home/live.stat" ] || : >"$home/live.stat"
    awk -F"$tab" 'FILENAME == ARGV[1] { seen[$0]; next } $1 ~ /^8/ && !($0 in seen) { printf "%s%c", $5, 0 }' \
        "$home/live.stat" "$scratch/look" >"$scratch/look.files"
    (cd "$live" && xargs -0 sha256sum -- <"$scratch/look.files" 2>/dev/null) | sed 's/^\([0-9a-f]*\) [ *]/\1'"$tab"'/' >"$scratch/look.sums"
    awk -F"$tab" '$1 ~ /^a/ { print $5 }' "$scratch/look" | while IFS= read -r path; do
        printf 'link:%s\t%s\n' "$(readlink "$live/$path")" "$path"
    done >>"$scratch/look.sums"
    # → kind mode content path; content '=' is "as the manifest has it"
    awk -F"$tab" '
        FILENAME == ARGV[1] { sum[$2] = $1; next }
        { kind = $1 ~ /^8/ ? "f" : $1 ~ /^a/ ? "l" : $1 ~ /^4/ ? "d" : "?"
          print kind "\t" substr($1, length($1) - 2) "\t" (($5 in sum) ? sum[$5] : "=") "\t" $5 }
    ' "$scratch/look.sums" "$scratch/look" >"$scratch/now"
}

# What to do so that the live folder holds WANT: `drop`, `put`, `mode`, `aside`, `dir` and a path a line. A file that is neither
# what a release brought (HAVE) nor what is wanted is somebody's data: set aside, never lost.
decide() { # HAVE WANT
    look_at_live "$1" "$2"
    awk -F"$tab" '
        function hex(octal,  i, n) { for (i = 1; i <= length(octal); i++) n = n * 8 + substr(octal, i, 1); return n }
        function unhex(text,  i, n) { for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1; return n }
        function content() { return $1 == "l" ? "link:" $6 : $1 == "d" ? "dir" : $4 }
        FILENAME == ARGV[1] { ours[$5, content()]; only[$5] = content(); known[$5]; next }
        FILENAME == ARGV[2] { want[$5] = content(); kind[$5] = $1; mode[$5] = $2; known[$5]; next }
        { here[$4] = $1 == "d" ? "dir" : $3 == "=" ? only[$4] : $3; perm[$4] = unhex($2) % 4096 }
        function through_link(path,  n, part, i, above) { # one of its folders is a symlink now: what is seen there is not here
            n = split(path, part, "/")
            for (i = 1; i < n; i++) {
                above = above (i > 1 ? "/" : "") part[i]
                if (above in here && here[above] ~ /^link:/) return 1
            }
            return 0
        }
        END {
            for (path in known) if (path in here && index(path, "/") && through_link(path)) gone[path]
            for (path in gone) delete here[path]
            for (path in known) {
                if (!(path in want)) {
                    if (!(path in here)) continue
                    print ((here[path] == "dir" ? "rmdir" : (path, here[path]) in ours ? "drop" : "aside") "\t" path)
                } else if (kind[path] == "d") {
                    if (!(path in here)) print "dir\t" path
                    else if (here[path] != "dir") print ((path, here[path]) in ours ? "drop" : "aside") "\t" path "\ndir\t" path
                } else if (!(path in here)) print "put\t" path
                else if (here[path] == want[path]) {
                    if (kind[path] == "f" && perm[path] != hex(mode[path])) print "mode\t" path "\t" mode[path]
                } else {
                    if (here[path] == "dir") print "room\t" path
                    else if (!((path, here[path]) in ours)) print "aside\t" path
                    print "put\t" path
                }
            }
        }' "$1" "$2" "$scratch/now" | sort >"$scratch/todo"
}

manifest_of() { if [ -n "$1" ]; then echo "$home/releases/$1/manifest"; else echo /dev/null; fi; }

manifest_of_live() { if [ -f "$home/live.manifest" ]; then echo "$home/live.manifest"; else echo /dev/null; fi; }

stage() { # RELEASE: copies of what `apply` will need, so that the services' downtime is not the copying's
    decide "$(manifest_of_live)" "$(manifest_of "$1")"
    [ "$(head -n 1 "$scratch/staged" 2>/dev/null)" = "$1" ] || { rm -rf "$scratch/stage"; echo "$1" >"$scratch/staged"; }
    mkdir -p "$scratch/stage"
    sed -n "s/^put$tab/.\//p" "$scratch/todo" | awk 'NR == FNR { done[$0]; next } !($0 in done)' "$scratch/staged" - >"$scratch/look.put"
    [ -s "$scratch/look.put" ] || return 0
    cat "$scratch/look.put" >>"$scratch/staged"
    # -m: these are new files of today; a web server tells them by that from yesterday's of the same size
    # xargs, since not every busybox tar has -T
    # shellcheck disable=SC2016
    (cd "$home/releases/$1/files" && tr '\n' '\0' <"$scratch/look.put" |
        xargs -0 sh -c 'tar -cf - "$@" | (cd "$0" && tar -xpomf -)' "$scratch/stage")
}

apply() { # RELEASE ('' takes everything out again): the live folder holds exactly its files, and whatever else was there
    : >"$run/touched"
    have=$(manifest_of_live) want=$(manifest_of "$1") want_in_place=$home/releases/$1/in_place
    stage "$1" || return 1
    rm -f "$home/live.stat"      # first: with two releases' files in the manifest, nothing is known by its state alone
    cat "$have" "$want" | sort -u >"$home/live.manifest.new" && mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    if [ ! -d "$live" ] && [ -n "$1" ]; then
        mv "$scratch/stage" "$live" || return 1
        grep "^dir$tab" "$scratch/todo" >"$scratch/look.dirs" || :
        mv "$scratch/look.dirs" "$scratch/todo"
    fi
    mkdir -p "$live" && change || return 1
    echo "$1" >"$run/applied"
    cat "$want" >"$home/live.manifest.new" && mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    note_stat
}

change() {
    grep -E "^(drop|aside|rmdir|room)$tab" "$scratch/todo" >"$scratch/look.out" || :
    grep -E "^(put|mode|dir)$tab" "$scratch/todo" >"$scratch/look.in" || :
    while IFS=$tab read -r what path mode; do take_out "$what" "$path" || return 1; done <"$scratch/look.out"
    while IFS=$tab read -r what path mode; do bring_in "$what" "$path" "$mode" || return 1; done <"$scratch/look.in"
}

take_out() { # WHAT PATH
    case $1 in
        drop) rm -f -- "$live/$2" && forget_empty "$2" ;;
        rmdir) rmdir -- "$live/$2" 2>/dev/null || : ;;
        room) # for a file, after our own files have left the folder; an empty one is what Docker makes for a missing mount
            [ ! -d "$live/$2" ] || rmdir -- "$live/$2" 2>/dev/null || take_out aside "$2" ;;
        aside)
            mv -- "$live/$2" "$live/$2.before-${run##*/}" && event aside path "$2" kept "$2.before-${run##*/}" ;;
    esac
}

forget_empty() { # PATH: folders that held nothing else go with their last file
    parent=${1%/*}
    while [ "$parent" != "$1" ] && [ "$parent" != . ] && rmdir -- "$live/$parent" 2>/dev/null; do
        case $parent in */*) parent=${parent%/*} ;; *) break ;; esac
    done
    return 0
}

bring_in() { # WHAT PATH MODE
    case $2 in */*) [ -d "$live/${2%/*}" ] || mkdir -p -- "$live/${2%/*}" || return 1 ;; esac
    case $1 in
        put)
            if [ -f "$live/$2" ] && [ ! -L "$live/$2" ] && grep -qxF -e "$2" "$want_in_place" 2>/dev/null; then
                # mounted by itself into a container that will only be told to read it again: it must stay the same file
                cat "$scratch/stage/$2" >"$live/$2" && rm -f -- "$scratch/stage/$2"
                return
            fi
            [ ! -L "$live/$2" ] || rm -f -- "$live/$2"     # mv would move into the folder that it leads to
            mv -f -- "$scratch/stage/$2" "$live/$2" ;;
        mode) chmod "$3" -- "$live/$2" ;;
        dir) mkdir -p -- "$live/$2" ;;
    esac
}

# The state of every live file that has the release's content: it need not be read again as long as it looks the same.
note_stat() {
    look_at_live "$home/live.manifest" /dev/null
    # A file changed within this very second could change again and look the same: leave it to be hashed next time.
    awk -F"$tab" -v now="$(date +%s)" '
        FILENAME == ARGV[1] { want[$5] = $1 == "l" ? "link:" $6 : $4; next }
        FILENAME == ARGV[2] { if ($1 == "d" || $3 == "=" || $3 == want[$4]) ours[$4]; next }
        $3 < now - 1 && ($5 in ours)
    ' "$home/live.manifest" "$scratch/now" "$scratch/look" >"$home/live.stat.new" && mv "$home/live.stat.new" "$home/live.stat"
}
