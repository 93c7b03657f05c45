#!/bin/sh
# read_zero.sh ROOT STACK PROJECT FOLDER ENV-FILES FILE… <rows: what runs of a project that has no release, and what of
# its data a release would not find. Changes nothing. Sent with `limit`, containers.sh and release_zero.sh in front; the
# last tells what FOLDER, ENV-FILES and FILE are. With `kept` in their place: of what an interrupted deploy has kept as
# release 0. Rows on stdin, their columns separated by tabs:
#   path PATH               a file of the working tree, relative
#   mount SOURCE PATH       what a container mounts now, and the path in the live folder that it will mount instead
# Prints rows, their columns separated by tabs:
#   place live|elsewhere    whether it runs in the live folder
#   entry KIND MODE SIZE SHA256 PATH TARGET    of the manifest of what the live folder has
#   data SOURCE PATH        something is in SOURCE that will not be in PATH
#   wrong TEXT              why Compose does not render them
#   origin FOLDER ENV-FILES FILE…, kept SERVICE    of what was kept: where it was started, and which services it had
#   model                   then, to the end, the folder that paths are relative to and the model as JSON
# shellcheck disable=SC2034,SC2154  # release_zero.sh reads and sets these
set -u
umask 077
root=$1
case $root in /*) ;; *) root=$(pwd)/$root ;; esac
live=$root/$2 zero=$root/.towline/$2/releases/0 project=$3
shift 3
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 129' HUP INT PIPE TERM
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR
unset COMPOSE_PROJECT_DIRECTORY COMPOSE_DISABLE_ENV_FILE
export COMPOSE_ANSI=never
if [ "$1" = kept ]; then zero_from_release "$zero"; else set_zero "$@"; fi
cat >"$scratch/stdin"
sed -n "s/^path$tab//p" "$scratch/stdin" >"$scratch/paths"

# Prints nothing when every file below SOURCE will be below PATH: it is there, or the release brings it. A copy that an
# earlier `adopt` made is of its time: what runs has gone on since.
left_behind() { # SOURCE PATH
    [ -e "$1" ] || return 0
    ! grep -qxF -e "copied$tab$1$tab$2" "$zero/moved" 2>/dev/null || { echo yes; return; }
    if [ ! -d "$1" ]; then
        [ -e "$live/$2" ] || grep -qxF -e "$2" "$scratch/paths" || echo yes
        return
    fi
    (cd "$1" && find . ! -type d 2>/dev/null || echo ./unreadable) >"$scratch/source"
    [ ! -d "$live/$2" ] || (cd "$live/$2" && find . ! -type d 2>/dev/null) >"$scratch/target"
    case $2 in .) top='' ;; *) top=$2/ ;; esac
    awk -v top="$top" '
        FILENAME == ARGV[1] { if (substr($0, 1, length(top)) == top) there["./" substr($0, length(top) + 1)]; next }
        FILENAME == ARGV[2] { there[$0]; next }
        !($0 in there) { print "yes"; exit }
    ' "$scratch/paths" "$scratch/target" "$scratch/source"
}

# What the project's env files hold is not told: Compose quotes what it cannot read.
without_values() {
    { printf '%s\n' "$zero_env" | tr , '\n'; printf '%s\n' "$zero_folder/.env"; } | while IFS= read -r file; do
        [ ! -r "$file" ] || cat "$file"
    done >"$scratch/values" 2>/dev/null
    awk '
        FILENAME == ARGV[1] {
            value = substr($0, index($0, "=") + 1)
            gsub(/^[ \t"\047]+|[ \t\r"\047]+$/, "", value)
            if (length(value) > 3) secret[value]
            next
        }
        {
            for (value in secret) {
                told = ""
                while ((at = index($0, value))) {
                    told = told substr($0, 1, at - 1) "[secret]"
                    $0 = substr($0, at + length(value))
                }
                $0 = told $0
            }
            print
        }' "$scratch/values" -
}

if runs_in_live; then printf 'place\tlive\n'; else printf 'place\telsewhere\n'; fi
{ cat "$scratch/paths"; zero_own_paths; } | zero_manifest | sed "s/^/entry$tab/"
if [ "$1" = kept ]; then
    printf 'origin\t%s\t%s' "$zero_folder" "$zero_env"
    printf '%s\n' "$zero_files" | while IFS= read -r file; do printf '\t%s' "$file"; done
    echo
    cut -f1 "$zero/images" | sort -u | sed "s/^/kept$tab/"
    [ ! -s "$zero/adding" ] || sed "s/^/data$tab/" "$zero/adding" | cut -f1-3 | sort -u
fi
sed -n "s/^mount$tab//p" "$scratch/stdin" | while IFS=$tab read -r source path; do
    case $source in "$live/$path" | "$(cd "$live/$path" 2>/dev/null && pwd -P)") continue ;; esac
    : >"$scratch/target"
    [ -z "$(left_behind "$source" "$path")" ] || printf 'data\t%s\t%s\n' "$source" "$path"
done
[ "$1" != kept ] || exit 0
if zero_model >"$scratch/model" 2>"$scratch/wrong"; then
    echo model
    cat "$scratch/model"
else
    printf 'wrong\t%s\n' "$(grep . "$scratch/wrong" | tail -n 1 | tr '\t' ' ' | without_values)"
fi
