#!/bin/sh
# manifests.sh: the manifests that live.sh goes by. Functions only: runner.sh sources it.
# shellcheck disable=SC2015,SC2030,SC2031,SC2034,SC2154,SC2317

manifest_of() { # RELEASE, or ''
    if [ -n "$1" ]; then printf '%s\n' "$home/releases/$1/manifest"; else echo /dev/null; fi
}

live_manifest() {
    if [ -s "$home/live.manifest" ]; then printf '%s\n' "$home/live.manifest"
    elif [ -e "$home/live.manifest" ]; then manifest_of "$previous"        # after a power cut
    else echo /dev/null; fi
}

# A manifest that is empty or broken would have every file removed: it is made again from the release's files. 1: those
# are not what was sent.
need_manifest() { # RELEASE, or ''
    case $1 in '' | 0) return 0 ;; esac       # that of release 0 may be empty
    manifest=$home/releases/$1/manifest
    ! is_manifest "$manifest" || return 0
    printf 'the manifest of release %s is empty or broken; it is made again from its files\n' "$1"
    rebuild_manifest "$1" >"$scratch/manifest" && is_manifest "$scratch/manifest" || return 1
    digest=$(sed -n 's/.*"digest": *"\([0-9a-f]*\)".*/\1/p' "$home/releases/$1/meta.json" 2>/dev/null)
    if [ -n "$digest" ] && [ "$(sha256sum <"$scratch/manifest")" != "$digest  -" ]; then
        printf 'the files of release %s are not what was sent\n' "$1"
        return 1
    fi
    save "$manifest" <"$scratch/manifest"
}

is_manifest() { # FILE
    LC_ALL=C awk -F"$tab" '
        $1 !~ /^[fld]$/ || $2 !~ /^[0-7]+$/ || $3 !~ /^[0-9]+$/ || NF != 6 { exit 1 }
        $5 == "" || ("/" $5 "/") ~ /\/(\.?\.)?\// { exit 1 }
        { rows++ }
        END { exit !rows }
    ' "$1" 2>/dev/null
}

rebuild_manifest() ( # RELEASE
    live=$home/releases/$1/files
    (cd "$live" && find .) | sed -n 's/^\.\///p' | LC_ALL=C sort | cat >"$scratch/paths" || exit 1
    read_live_files /dev/null || exit 1
    LC_ALL=C awk -F"$tab" '
        function number(digits,  i, n) {
            for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", substr(digits, i, 1)) - 1
            return n
        }
        FILENAME == ARGV[1] { content[$2] = $1; next }
        {
            row[++rows] = $0
            if (match($5, /\/[^\/]*$/)) full[substr($5, 1, RSTART - 1)]
        }
        END {
            for (n = 1; n <= rows; n++) {
                split(row[n], part, "\t")
                path = part[5]
                if (path in full) continue
                mode = number(substr(part[1], length(part[1]) - 2)) % 512
                if (part[1] ~ /^8/) printf "f\t%04o\t%s\t%s\t%s\t\n", mode, part[2], content[path], path
                else if (part[1] ~ /^a/) printf "l\t0777\t0\t-\t%s\t%s\n", path, substr(content[path], 6)
                else printf "d\t%04o\t0\t-\t%s\t\n", mode, path
            }
        }
    ' "$scratch/contents" "$scratch/states"
)

in_place_of() { # RELEASE, or ''
    if [ -n "$1" ] && [ -f "$home/releases/$1/in_place" ]; then printf '%s\n' "$home/releases/$1/in_place"
    else echo /dev/null; fi
}
