#!/bin/sh
# receive.sh ROOT STACK ID PREVIOUS DIGEST <gzip tar: a new release beside the others, ROOT/.towline/STACK/releases/ID.
# The tar holds ID.part/{lines,meta.json,sums,drop} and, below ID.part/new/, the files that the release PREVIOUS lacks.
# The rest is hard-linked from PREVIOUS (`-`: there is none). The manifest is that of PREVIOUS without the paths in
# `drop` and with the rows in `lines`; DIGEST is its sha256. Nothing counts until the last line's rename.
# Exit code 1: nothing has been added; stderr says why. Sent with saving.sh in front.
# shellcheck disable=SC2015  # `A && B || C`: C is right for either
set -u
umask 022
releases=$1/.towline/$2/releases id=$3 previous=$4 digest=$5 tab=$(printf '\t')

fail() { # WHY
    trap '' HUP INT PIPE TERM
    rm -rf "$part"
    printf '%s\n' "$1" >&2
    exit 1
}

(umask 077; mkdir -p "$1/.towline") && mkdir -p "$releases" && cd "$releases" || exit 1
part=$id.part
mkdir "$part" || { printf 'another client is sending release %s\n' "$id" >&2; exit 1; }
trap 'fail "the connection was lost while the release was sent"' HUP INT PIPE TERM
printf '%s\n' $$ >"$part/pid" || fail "the disk is full"
[ ! -e "$id" ] || fail "there is a release $id already"     # whoever has the .part is the only one to name it
for old in *.part; do                  # of a transfer during which the server went down
    [ -s "$old/pid" ] || sleep 1       # it is just being made, or was left so
    pid=$(cat "$old/pid" 2>/dev/null)
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || rm -rf "${old:?}"
done

# -m: the build tells by size and time which files changed, and the tarball's times are all the same
gzip -dc | tar -xpomf - || fail "the tarball did not arrive whole"
[ -d "$part/new" ] || mkdir "$part/new"
old=/dev/null
[ "$previous" = - ] || old=$previous/manifest
awk -F"$tab" 'FILENAME == ARGV[1] { drop[$0]; next } !($5 in drop)' "$part/drop" "$old" |
    LC_ALL=C sort -t "$tab" -k 5,5 - "$part/lines" | cat >"$part/manifest" || fail "the manifest could not be written"
printf '%s  %s\n' "$digest" "$part/manifest" | sha256sum -c >/dev/null 2>&1 ||
    fail "the manifest is not the one that was sent"
bad=$(cd "$part/new" && [ -f ../sums ] && { [ ! -s ../sums ] || sha256sum -c ../sums; } 2>&1) ||
    fail "what arrived is not what was sent: $(printf '%s\n' "$bad" | grep -v ': OK$' | head -n 3)"
if [ "$previous" = - ]; then
    mv "$part/new" "$part/files" || fail "cannot move the files into place"
else
    cp -al "$previous/files" "$part/files" || fail "cannot link the unchanged files of release $previous"
    [ ! -s "$previous/env_files" ] || rm -f "$part/files/.env"      # none of its files: see in_release
    (cd "$part/files" && tr '\n' '\0' <../drop | xargs -0 rm -rf --) || fail "cannot remove the files that are dropped"
    cp -alf "$part/new/." "$part/files/" || fail "cannot add the new files"
    rm -rf "$part/new"
fi
want=$(grep -c '^[fl]' "$part/manifest")
have=$(cd "$part/files" && find . ! -type d | wc -l)
[ "$want" -eq "$have" ] || fail "the release would have $have files in place of $want"
rm -f "$part/sums" "$part/drop" "$part/lines" "$part/pid"
sync_disk "$part"       # what has its name is whole, after a power cut, too
mv "$part" "$id" || fail "cannot name the release $id"
