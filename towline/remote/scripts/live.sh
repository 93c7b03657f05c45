#!/bin/sh
# live.sh: makes the live folder hold a release's files, and loses nothing else that is there. Functions only: runner.sh
# sources it; `stage` and `apply` are commands of steps.
#
# Beside the live folder, in ROOT/.towline/STACK, it keeps
#   live.manifest   the manifest of the release whose files are live; of both while `apply` goes from one to the other
#   live.stat       the state of every live file that has the content that live.manifest has, a row of file_state each
# and in the run's folder `touched`, made before the first change, and `applied`, the release whose files are live.
# In the run's folder scratch:
#   stage/RELEASE/  copies of the files that `apply` will need; of the release to go back to as well
#   room.apply      takes room on the disk for the small files that are written while the stack is down; room.undo does
#                   so for the way back
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

# Writes into $scratch/todo what makes the live folder hold the files of the manifest WANTED, a row each:
#   ACTION FOLDER NAME [MODE]   what make_changes does, in its order: aside, remove, rmdir, vacate (make room for a
#                               file), add (nothing is there; a folder that is not there is added as a whole), put (it
#                               replaces what is there), rewrite (in place), chmod
#   stage PATH                  a file of the release, symlink or empty folder that is needed for that
#   led PATH                    a symlink that no release has made, and through which the release would be written. One
#                               that leads to what the release has is left alone
# A file that neither a release brought (OURS is its manifest) nor is wanted is somebody's data: set aside, never lost.
# IN_PLACE lists the files that are rewritten. On the way back, with GOING_BACK, a symlink is set aside, too.
# Container data is brought where there is none; what services have made of it stays. Not of what ran before the first
# release: that is set aside, and comes back with release 0.
# The .env that a release reads in the live folder, since it brings none, is its owner's again: release 0 had it, too.
plan_changes() { # OURS WANTED IN_PLACE [GOING_BACK]
    list_paths "$1" "$2" || return 1
    recorded=$home/live.stat
    [ -f "$recorded" ] || recorded=/dev/null
    read_live_files "$recorded" /dev/null "$2" || return 1
    theirs='' data_stays=yes
    [ "${2%/*}" != "$home/releases/0" ] && [ -s "$1" ] || data_stays=''
    [ "${2%/*}" = "$home/releases/0" ] || [ ! -s "${2%/*}/env_files" ] || theirs=.env
    list_data "$2" | cat >"$scratch/data" || return 1
    awk -F"$tab" -v going_back="${4:-}" -v theirs="$theirs" -v data_stays="$data_stays" "$leading_link"'
        function number(digits, base,  i, n) {
            for (i = 1; i <= length(digits); i++) n = n * base + index("0123456789abcdef", substr(digits, i, 1)) - 1
            return n
        }
        function content() { return $1 == "l" ? "link:" $6 : $1 == "d" ? "dir" : $4 }
        function folder_of(path) { return match(path, /\/[^\/]*$/) ? substr(path, 1, RSTART - 1) : "" }
        function row(action, path, mode,  folder) {
            folder = folder_of(path)
            if (folder != "") path = substr(path, length(folder) + 2)
            print action "\t" (folder == "" ? "." : "./" folder) "\t" path (mode == "" ? "" : "\t" mode)
        }
        function is_folder(path) { return (path in live) && live[path] == "dir" }
        function clear(path) { row(((path, live[path]) in ours) ? "remove" : "aside", path) }
        function gap(path,  n, part, i, parent) {       # its first parent that is no folder, or ""
            n = split(path, part, "/")
            for (i = 1; i < n; i++) {
                parent = parent (i > 1 ? "/" : "") part[i]
                if (!is_folder(parent)) return parent
            }
            return ""
        }
        function is_own(path) { return (path in data) && !((path, live[path]) in ours) }
        function bring(path) {      # where its folder is there
            if (!(path in live)) { row("add", path); return }
            if (live[path] == wanted[path]) {
                if (type[path] != "f") return
                if (inodes[inode[path]] > 1) { row("put", path); print "stage\t" path }
                else if (has_mode[path] != number(mode[path], 8)) row("chmod", path, mode[path])
                return
            }
            if (data_stays && is_own(path)) return
            if (live[path] == "dir") { row("vacate", path); row("add", path) }
            else if (!((path, live[path]) in ours) || type[path] == "d") { clear(path); row("add", path) }
            else if ((path in in_place) && live[path] !~ /^link:/ && type[path] == "f" && inodes[inode[path]] == 1) {
                row("rewrite", path)
                if (has_mode[path] != number(mode[path], 8)) row("chmod", path, mode[path])
            } else row("put", path)
            print "stage\t" path
        }
        FILENAME == ARGV[1] && $5 == theirs { next }
        FILENAME == ARGV[1] { ours[$5, content()]; as_recorded[$5] = content(); known[$5]; next }
        FILENAME == ARGV[2] { wanted[$5] = content(); type[$5] = $1; mode[$5] = $2; known[$5]; next }
        FILENAME == ARGV[3] { in_place[$0]; next }
        FILENAME == ARGV[4] { read[$2] = $1; next }
        FILENAME == ARGV[5] { differs[$2]; next }
        FILENAME == ARGV[6] { data[$0]; next }
        {
            live[$5] = $1 ~ /^4/ ? "dir" : ($5 in read) ? read[$5] : ($5 in differs) ? "unknown" : as_recorded[$5]
            if ($1 ~ /^a/) link[$5]
            if ($1 ~ /^8/) { inode[$5] = $4; inodes[$4]++ }
            has_mode[$5] = number(substr($1, length($1) - 2), 16) % 4096
        }
        END {
            for (path in live) {
                lead = leading_link(path)
                if (lead == "") continue
                led[path] = lead
                if ((path in wanted) && live[path] == wanted[path]) same[path]
            }
            for (path in wanted) {
                lead = leading_link(path)
                if (lead == "" || ((lead, live[lead]) in ours)) continue
                foreign[path] = lead
                if (!(path in same)) in_the_way[lead]
            }
            for (lead in in_the_way) if (!going_back) print "led\t" lead
            for (path in led) delete live[path]
            for (path in wanted) {
                for (folder = folder_of(path); folder != "" && !(folder in needed); folder = folder_of(folder))
                    needed[folder]
                if ((path in foreign) && !(foreign[path] in in_the_way)) continue
                hole = gap(path)
                if (hole == "") { bring(path); if (!(path in live)) print "stage\t" path }
                else {
                    print "stage\t" path
                    if (hole in placed) continue
                    placed[hole]
                    if ((hole in live) && !(hole in known)) clear(hole)
                    row("add", hole)
                }
            }
            for (path in known) {
                if (path in wanted) continue
                if (is_folder(path)) { if (!(path in needed)) left[path] }
                else if ((path in live) && !is_own(path)) {
                    # what is there leads to what the release has
                    if (!(path in needed) || !(path in link) || (path in placed)) clear(path)
                }
                for (folder = folder_of(path); folder != "" && !(folder in needed); folder = folder_of(folder))
                    if (is_folder(folder)) left[folder]
            }
            for (path in left) row("rmdir", path)
        }' "$1" "$2" "$3" "$scratch/contents" "$scratch/changes" "$scratch/data" "$scratch/states" |
        LC_ALL=C sort -r | cat >"$scratch/todo"
}

list_data() { # MANIFEST: the container data of its release, and of those that this run goes from or to
    cat "${1%/*}/data" "$home/releases/${previous:-none}/data" "$home/releases/${release:-none}/data" 2>/dev/null || :
}

list_paths() { # MANIFEST…: into $scratch/paths, with all folders that they are in, each before what is in it
    cut -f5 "$@" | awk '{
        path = $0
        while (!(path in listed)) {
            listed[path]
            print path
            if (!match(path, /\/[^\/]*$/)) next
            path = substr(path, 1, RSTART - 1)
        }
    }' | LC_ALL=C sort | cat >"$scratch/paths"
}

# --- stage ------------------------------------------------------------------------------------------------------------

# Makes the copies that `apply` will need, so that the services are not down while files are copied; and those that
# going back will need, so that a disk that is full by then does not keep anything from coming back.
stage() { # RELEASE
    if [ -e "$scratch/room.undo" ]; then        # this is the way back
        rm -f "$scratch/room.apply" "$scratch/room.undo"
        : >"$scratch/going_back"
        stage_changes "$1"
        return
    fi
    stage_changes "$1" && stage_way_back "$1" && keep_room "$1" || {
        rm -rf "$scratch/stage" "$scratch"/room.*
        return 1
    }
    sync_disk "$scratch"        # what is written now need not be while the services are down
}

stage_changes() { # RELEASE, '' for none: plans, and copies what the plan needs
    need_manifest "$1" || return 1
    going_back=''
    [ ! -e "$scratch/going_back" ] || going_back=yes
    plan_changes "$(live_manifest)" "$(manifest_of "$1")" "$(in_place_of "$1")" "$going_back" || return 1
    lead=$(sed -n "s/^led$tab//p" "$scratch/todo")
    [ -z "$lead" ] || {
        printf '%s is a symlink that no release has made; nothing is written through it\n' "$lead"
        printf 'Put what it leads to in its place, or remove it, and deploy again.\n'
        return 1
    }
    sed -n "s/^stage$tab//p" "$scratch/todo" | sort -u | cat >"$scratch/wanted" || return 1
    [ -z "$1" ] || copy_files "$1"
}

stage_way_back() { # RELEASE: copies what the release before it has and RELEASE will have replaced
    [ -n "$previous" ] && [ "$previous" != "$1" ] || return 0
    need_manifest "$previous" || return 0       # then there is no way back, and only a new release helps
    awk -F"$tab" '
        { content = $1 FS $4 FS $6 }
        FILENAME == ARGV[1] { wanted[$5] = content; next }
        wanted[$5] != content { print $5 }
    ' "$(manifest_of "$1")" "$(manifest_of "$previous")" | cat >"$scratch/wanted" && copy_files "$previous"
}

# Copies what $scratch/wanted names from the RELEASE into stage/RELEASE, unless it is there. Each file is an inode of
# its own: in a release, files of the same content are hard-linked to each other.
copy_files() { # RELEASE
    copies=$scratch/stage/$1
    mkdir -p "$copies" && list_missing && { [ ! -s "$scratch/missing" ] || copy_missing "$1"; } && return
    printf 'release %s could not be copied: the disk is full, or the release is not whole\n' "$1"
    return 1
}

copy_missing() { # RELEASE
    cd "$home/releases/$1/files" || return 1
    tr '\n' '\0' <"$scratch/missing" | xargs -0 stat -c "%f$tab%i$tab%n" -- | awk -F"$tab" '
        { print ($1 ~ /^8/ && ($2 in copied) ? "again" : "first") "\t" $3; copied[$2] }
    ' | cat >"$scratch/copies" && copy_first && copy_again && list_missing && [ ! -s "$scratch/missing" ]
}

list_missing() { # into $scratch/missing, those of $scratch/wanted that $copies does not have
    (cd "$copies" && find .) | awk 'to_come { if (!(("./" $0) in there)) print; next } { there[$0] }' \
        - to_come=1 "$scratch/wanted" | cat >"$scratch/missing"
}

copy_first() {
    case $copies in */0) TAR_OWNER=--numeric-owner ;; *) TAR_OWNER=-o ;; esac      # what was somebody's stays theirs
    export TAR_OWNER
    sed -n "s/^first$tab/.\//p" "$scratch/copies" | tr '\n' '\0' | cat >"$scratch/names" || return 1
    # -m: these are new files of today; a web server tells them by that from yesterday's of the same size
    # xargs, since not every busybox tar has -T
    # shellcheck disable=SC2016
    xargs -0 sh -c 'tar -cf - "$@" | (cd "$0" && tar "$TAR_OWNER" -xpmf -)' "$copies" <"$scratch/names"
}

copy_again() { # without tar, which makes a hard link of the second one
    sed -n "s/^again$tab/.\//p" "$scratch/copies" | cat >"$scratch/again" || return 1
    [ -s "$scratch/again" ] || return 0
    sed 's/\/[^/]*$//' "$scratch/again" | sort -u | tr '\n' '\0' | (cd "$copies" && xargs -0 mkdir -p --) || return 1
    # shellcheck disable=SC2016
    tr '\n' '\0' <"$scratch/again" |
        xargs -0 sh -c 'umask 0; exec cp -L --parents -- "$@" "$0"' "$copies" 2>/dev/null && return
    while IFS= read -r path; do     # a cp without --parents
        (umask 0; cp -L -- "$path" "$copies/$path") || return 1
    done <"$scratch/again"
}

# Takes room for what is written between `down` and the end besides the copies: lists of paths, states of live files,
# files that are rewritten in place, and what Docker and the runner note of a few containers.
keep_room() { # RELEASE
    cat "$(manifest_of "$1")" "$(manifest_of "$previous")" "$(live_manifest)" | wc -c >"$scratch/size" || return 1
    read -r size <"$scratch/size"
    rewritten=$(awk -F"$tab" '
        FILENAME == ARGV[1] || FILENAME == ARGV[2] { in_place[$0]; next }
        $5 in in_place { sum += $3 }
        END { printf "%d\n", sum }
    ' "$(in_place_of "$1")" "$(in_place_of "$previous")" "$(manifest_of "$1")" "$(manifest_of "$previous")")
    for name in apply undo; do      # random: some file systems do not store zeros
        head -c $((2097152 + 3 * size + rewritten)) /dev/urandom | cat >"$scratch/room.$name" || {
            echo "the disk has no room for the way back"
            return 1
        }
    done
    has_room_in_live && return
    printf '%s has no room for the release and for the way back\n' "$live"
    return 1
}

has_room_in_live() { # where the live folder lies on another file system than the copies, they are copied once more
    [ -d "$live" ] && [ "$(stat -L -c %d "$live")" != "$(stat -c %d "$scratch")" ] || return 0
    needed=$(du -sk "$scratch/stage" | cut -f1)
    df -Pk "$live" | awk -v needed="$needed" 'NR == 2 { enough = $4 > needed + 4096 } END { exit !enough }'
}

# --- apply ------------------------------------------------------------------------------------------------------------

apply() { # RELEASE, '' for none: the live folder holds its files, and whatever else was there
    : >"$run/touched" || return 1
    rm -f "$scratch/room.apply" "$scratch/asides"
    [ -n "$1" ] || rm -f "$scratch/room.undo"
    list_asides "$1" | cat >"$scratch/asides" || return 1
    wanted=$(manifest_of "$1")
    stage_changes "$1" || return 1
    rm -f "$home/live.stat"      # first: with two releases' files in the manifest, nothing is known by its state alone
    cat "$(live_manifest)" "$wanted" | sort -u | save "$home/live.manifest" && mkdir -p "$live" || return 1
    attempt=1
    until make_changes "$scratch/stage/$1"; do
        [ $? -eq 2 ] && [ "$attempt" -lt 3 ] && stage_changes "$1" || return 1
        attempt=$((attempt + 1))
    done
    return_asides "$wanted" && set_owners "$1" || return 1
    sync_disk "$live"
    printf '%s\n' "$1" | save "$run/applied" && save "$home/live.manifest" <"$wanted" || return 1
    record_states || rm -f "$home/live.stat"
}

list_asides() { # RELEASE: those of this run, and before them those of the last one, where it was killed; of 0 all
    if [ "$1" = 0 ] && [ -s "$home/releases/0/asides" ]; then awk '!seen[$0]++' "$home/releases/0/asides"; return; fi
    for id in $(newest_first "$home/run"); do
        [ "$home/run/$id" != "$run" ] && ! grep -qx -e locked -e stale "$home/run/$id/result" 2>/dev/null || continue
        [ -s "$home/run/$id/result" ] || cat "$home/run/$id/asides" 2>/dev/null
        break
    done
    [ ! -s "$run/asides" ] || cat "$run/asides"
}

# Writes live.stat: a file that still has the state that is in there need not be read again.
record_states() {
    recorded=$home/live.stat
    [ -f "$recorded" ] || recorded=/dev/null
    list_paths "$home/live.manifest" && read_live_files "$recorded" /dev/null "$home/live.manifest" || return 1
    owned=$home/releases/$(cat "$run/applied" 2>/dev/null)/owners
    [ -f "$owned" ] || owned=/dev/null
    # A file changed within this very second could change again and look the same: it is read next time; not one
    # that got another owner: this login may not be able to read it.
    awk -F"$tab" -v now="$(date +%s)" '
        FILENAME == ARGV[1] { wanted[$5] = $1 == "l" ? "link:" $6 : $4; next }
        FILENAME == ARGV[2] { if ($1 != wanted[$2]) differs[$2]; next }
        FILENAME == ARGV[3] { owned[$2]; next }
        ($5 in wanted) && ($3 < now - 1 || ($5 in owned)) && !($5 in differs)
    ' "$home/live.manifest" "$scratch/contents" "$owned" "$scratch/states" | save "$home/live.stat"
}
