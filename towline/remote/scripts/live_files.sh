#!/bin/sh
# live_files.sh: tells what the files in a stack's live folder hold. Functions only: runner.sh sources it, drift.sh and
# survey.sh are sent with it in front.
#
# Reads the variables live (the live folder) and scratch (a folder for intermediate files).
# Formats: a manifest has rows `kind mode bytes sha256 path target`, separated by tabs; live.stat has rows of
# file_state.
# shellcheck disable=SC2154  # the scripts that it serves set these
file_state="%f$tab%s$tab%Z$tab%i$tab%n"     # for stat: type and mode (hex), bytes, change time (s), inode, path

# An awk function. Needs `link`, whose indices are the paths of symlinks.
leading_link='
    function leading_link(path,  n, part, i, parent) {      # the first symlink that the path leads through, or ""
        n = split(path, part, "/")
        for (i = 1; i < n; i++) {
            parent = parent (i > 1 ? "/" : "") part[i]
            if (parent in link) return parent
        }
        return ""
    }
'

# Reads the files in the live folder that $scratch/paths names, a path a line. A file whose state is a row of RECORDED
# has not changed since it was recorded, and so has the content of the release that RECORDED belongs to: only others are
# read. With a MANIFEST a file of another size than there is not read either. A file behind a symlink that
# $scratch/paths names is read only when it has the size that the manifest BEHIND has for it: it may be any file of the
# host.
# Writes
#   $scratch/states     a row of file_state for each path that exists
#   $scratch/changes    a row for each path that is not as recorded: read PATH, link PATH, size PATH (not the
#                       manifest's), other PATH (neither file nor symlink), missing PATH
#   $scratch/contents   a row `CONTENT PATH` for what was read: the sha256, `link:TARGET`, or `size` where the size
#                       tells. A file that cannot be read has none
# Exit code 1: they could not be written.
read_live_files() { # RECORDED [MANIFEST [BEHIND]]
    : >"$scratch/contents" || return 1
    # cat: see saving.sh
    { [ ! -d "$live" ] || (
        cd "$live" && tr '\n' '\0' <"$scratch/paths" | xargs -0 stat -c "$file_state" -- 2>/dev/null
    ); } | cat >"$scratch/states" || return 1
    awk -F"$tab" "$leading_link"'
        FILENAME == ARGV[1] { recorded[$0]; next }
        FILENAME == ARGV[2] { if ($1 == "f") size[$5] = $3; next }
        FILENAME == ARGV[3] { if ($1 == "f") size_behind[$5] = $3; next }
        FILENAME == ARGV[4] { missing[$0]; next }
        { delete missing[$5] }
        $1 ~ /^a/ { link[$5]; links++ }
        links && leading_link($5) != "" {
            print ($1 !~ /^8/ ? "other" : size_behind[$5] == $2 "" ? "read" : "size") "\t" $5
            next
        }
        $0 in recorded { next }
        $1 ~ /^8/ { print (($5 in size) && size[$5] != $2 ? "size" : "read") "\t" $5; next }
        { print ($1 ~ /^a/ ? "link" : "other") "\t" $5 }
        END { for (path in missing) print "missing\t" path }
    ' "$1" "${2:-/dev/null}" "${3:-/dev/null}" "$scratch/paths" "$scratch/states" | cat >"$scratch/changes" || return 1
    [ ! -s "$scratch/changes" ] || read_contents | cat >"$scratch/contents"
}

read_contents() {
    # GNU sha256sum begins a line with a backslash where it escaped the backslashes in the name
    if grep -q "^read$tab" "$scratch/changes"; then
        sed -n "s/^read$tab//p" "$scratch/changes" | tr '\n' '\0' | (cd "$live" && xargs -0 sha256sum -- 2>/dev/null)
    fi | awk '{ if (sub(/^\\/, "")) gsub(/\\\\/, "\\"); print substr($0, 1, 64) "\t" substr($0, 67) }'
    sed -n "s/^link$tab//p" "$scratch/changes" | while IFS= read -r path; do
        printf 'link:%s\t%s\n' "$(readlink "$live/$path")" "$path"
    done
    grep "^size$tab" "$scratch/changes" || :
}
