#!/bin/sh
# current.sh: names the live release of a stack. Functions only: runner.sh sources it; state.sh, drift.sh, prune.sh and
# facts/release.py are sent with it in front.

# Prints its id; nothing when no release has been live yet. The file `current` may be empty or name a release that is
# gone, after a power cut or by hand: then the good release whose files are live, else the newest good one.
current_release() { # HOME, the stack's state folder
    [ -e "$1/current" ] || return 0
    named_release "$1" && return
    newest=''
    for folder in "$1"/releases/*/; do
        [ "$(cat "$folder/outcome" 2>/dev/null)" = good ] || continue
        folder=${folder%/}
        [ "${folder##*/}" != 0 ] || continue        # it never was one of ours
        newest=${folder##*/}
        ! cmp -s "$folder/manifest" "$1/live.manifest" || break
    done
    [ -z "$newest" ] || printf '%s\n' "$newest"
}

named_release() { # HOME: what `current` says. Exit code 1: it is empty, or there is no such release
    named=''
    read -r named 2>/dev/null <"$1/current"
    case $named in '' | */* | .*) return 1 ;; esac
    [ -d "$1/releases/$named" ] && printf '%s\n' "$named"
}
