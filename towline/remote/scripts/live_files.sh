#!/bin/sh
# live_files.sh: tells what the files in a stack's live folder hold. Functions only: runner.sh sources it, drift.sh and
# survey.sh are sent with it in front.
#
# Reads the variables live (the live folder) and scratch (a folder for intermediate files).
# Formats: a manifest has rows `kind mode bytes sha256 path target`, separated by tabs; live.stat has rows of
# file_state.
# shellcheck disable=SC2154  # the scripts that it serves set these
file_state="%f$tab%s$tab%Z$tab%i$tab%n"     # for stat: type and mode (hex), bytes, change time (s), inode, path

# Reads the files in the live folder that $scratch/paths names, a path a line. A file whose state is a row of RECORDED
# has not changed since it was recorded, and so has the content of the release that RECORDED belongs to: only others are
# read. With a MANIFEST a file of another size than there is not read either.
# Writes
#   $scratch/states     a row of file_state for each path that exists
#   $scratch/changes    a row for each path that is not as recorded: read PATH, link PATH, size PATH (not the
#                       MANIFEST's), other PATH (neither file nor symlink), missing PATH
#   $scratch/contents   a row `CONTENT PATH` for what was read: the sha256, `link:TARGET`, or `size` where the size
#                       tells. A file that cannot be read has none
read_live_files() { # RECORDED [MANIFEST]
    : >"$scratch/states"
    : >"$scratch/contents"
    [ ! -d "$live" ] || (
        cd "$live" && tr '\n' '\0' <"$scratch/paths" | xargs -0 stat -c "$file_state" -- 2>/dev/null
    ) >"$scratch/states"
    awk -F"$tab" '
        FILENAME == ARGV[1] { recorded[$0]; next }
        FILENAME == ARGV[2] { if ($1 == "f") size[$5] = $3; next }
        FILENAME == ARGV[3] { missing[$0]; next }
        { delete missing[$5] }
        $0 in recorded { next }
        $1 ~ /^8/ { print (($5 in size) && size[$5] != $2 ? "size" : "read") "\t" $5; next }
        { print ($1 ~ /^a/ ? "link" : "other") "\t" $5 }
        END { for (path in missing) print "missing\t" path }
    ' "$1" "${2:-/dev/null}" "$scratch/paths" "$scratch/states" >"$scratch/changes"
    [ ! -s "$scratch/changes" ] || read_contents >"$scratch/contents"
}

read_contents() {
    sed -n "s/^read$tab//p" "$scratch/changes" | tr '\n' '\0' >"$scratch/unread"
    # GNU sha256sum begins a line with a backslash where it escaped the backslashes in the name
    [ ! -s "$scratch/unread" ] || (cd "$live" && xargs -0 sha256sum -- <"$scratch/unread" 2>/dev/null) |
        awk '{ if (sub(/^\\/, "")) gsub(/\\\\/, "\\"); print substr($0, 1, 64) "\t" substr($0, 67) }'
    sed -n "s/^link$tab//p" "$scratch/changes" | while IFS= read -r path; do
        printf 'link:%s\t%s\n' "$(readlink "$live/$path")" "$path"
    done
    grep "^size$tab" "$scratch/changes" || :
}
