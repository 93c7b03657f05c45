#!/bin/sh
# runner.sh: carries out one run of a deploy by itself, on the server. Nothing it does waits for the client.
# Runs in ROOT/.towline/STACK/run/ID, without arguments.
#
# Reads there
#   settings       shell assignments: stack, project, release, previous, timeout, keep, lock_wait, by
#   steps, undo    a row `NAME SECONDS COMMAND` each, separated by tabs; 0 seconds: no limit. COMMAND is shell text, and
#                  may begin with a function of the scripts that are sourced below
#   services       see health.sh
# Writes there
#   events         a JSON object a line: t (the server's uptime, seconds), event, and what belongs to that event
#   output         what the commands print
#   release        the id of the release that it is about
#   touched, applied, before, serving    see live.sh, health.sh and downtime.sh
#   scratch/       intermediate files; gone at the end
#   result         at last, one of deployed, kept (the old release was never touched), restored (put back, healthy),
#                  partly (putting it back failed, but something of the stack runs), down (nothing does); or, before
#                  anything was done, locked (another run has the stack) or stale (another run was at work since the
#                  plan was made)
# and in ROOT/.towline/STACK `lock`, which this process and those that it started hold by flock, so that it cannot go
# stale (without flock: the folder lock.d with the file owner), and `holder`, which says who that is. A file `held`
# there is a person's lock: its first line says whose.
# shellcheck disable=SC1091,SC2015,SC2034,SC2154,SC2317  # the scripts are beside it; steps call functions, with eval
set -u
umask 022
run=$(pwd)
stack='' project='' release='' previous='' timeout=120 keep=5 lock_wait=0 by=''
# shellcheck source=/dev/null
. ./settings
. ./saving.sh
. ./containers.sh
. ./live_files.sh
. ./runs.sh
. ./current.sh
. ./manifests.sh
. ./placing.sh
. ./live.sh
. ./engine.sh
. ./health.sh
. ./downtime.sh
. ./roll.sh
. ./releases.sh
. ./release_zero.sh
. ./bring_data.sh
cd ../../../.. || exit 1     # ROOT
home=$(pwd)/.towline/$stack live=$(pwd)/$stack
locked='' child='' cancelled='' overdue='' step=''
scratch=$run/scratch
export COMPOSE_ANSI=never COMPOSE_PROGRESS=plain BUILDKIT_PROGRESS=plain COMPOSE_MENU=false DOCKER_CLI_HINTS=false
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR
unset COMPOSE_DISABLE_ENV_FILE

# --- events -----------------------------------------------------------------------------------------------------------

uptime_now() { read -r up _ </proc/uptime; printf '%s\n' "$up"; }

# Prints `,"KEY":"VALUE"` for each pair in plain ASCII, whatever bytes the values hold. A line feed and a tab become
# blanks; what is not UTF-8, and control characters, become U+FFFD. `od -b`, since every od has it, and not every awk
# takes each byte for a character.
json_members() { # [KEY VALUE]…
    [ $# -eq 0 ] || printf '%s\000' "$@" | od -v -b | awk '
        function bad() { printf "\\ufffd"; more = 0 }
        function put(code) {
            if (code < least || code < 160 || (code >= 55296 && code < 57344) || code > 1114111) bad()
            else if (code < 65536) printf "\\u%04x", code
            else printf "\\u%04x\\u%04x", 55296 + int((code - 65536) / 1024), 56320 + code % 1024
        }
        function take(byte) {
            if (more) {
                if (byte >= 128 && byte < 192) {
                    code = code * 64 + byte - 128
                    if (!--more) put(code)
                    return
                }
                bad()
            }
            if (!byte) printf "%s", (texts++ % 2) ? "\"" : "\":\""
            else if (byte < 128) printf "%s", (byte in shown) ? shown[byte] : "\\ufffd"
            else if (byte >= 194 && byte < 224) { more = 1; code = byte - 192; least = 128 }
            else if (byte >= 224 && byte < 240) { more = 2; code = byte - 224; least = 2048 }
            else if (byte >= 240 && byte < 245) { more = 3; code = byte - 240; least = 65536 }
            else bad()
        }
        BEGIN {
            for (n = 0; n < 256; n++) number[sprintf("%03o", n)] = n
            for (n = 32; n < 127; n++) shown[n] = sprintf("%c", n)
            shown[34] = "\\\""; shown[92] = "\\\\"; shown[9] = shown[10] = " "
        }
        {
            for (field = 2; field <= NF; field++) {
                if (starts == texts / 2) { printf ",\""; starts++ }
                take(number[$field])
            }
        }'
}

event() { # NAME [KEY VALUE]…
    line="{\"t\":$(uptime_now),\"event\":\"$1\""
    shift
    printf '%s%s}\n' "$line" "$(json_members "$@")" >>"$run/events"
}

finish() { # OUTCOME
    rm -rf "$scratch"
    event end outcome "$1"
    printf '%s\n' "$1" | save "$run/result"
    [ -z "$locked" ] || rm -rf "$home/holder" "$home/lock.d"
    exit 0
}

refuse() { # OUTCOME: nothing has been done; a release that was sent for this run only goes again
    [ -e "$home/releases/$release/outcome" ] || rm -rf "$home/releases/${release:?}"
    finish "$1"
}

# --- the lock ---------------------------------------------------------------------------------------------------------

try_lock() {
    if command -v flock >/dev/null 2>&1; then flock -n 9; return; fi
    boot=$(cat /proc/sys/kernel/random/boot_id)
    if mkdir "$home/lock.d" 2>/dev/null; then printf '%s %s\n' $$ "$boot" >"$home/lock.d/owner"; return; fi
    # No owner yet: either it is being written just now, or whoever made the folder was killed before it could be.
    [ -s "$home/lock.d/owner" ] || sleep 1
    pid='' since=''
    read -r pid since 2>/dev/null <"$home/lock.d/owner"
    [ "$since" = "$boot" ] && kill -0 "$pid" 2>/dev/null && return 1
    rm -rf "$home/lock.d"
    mkdir "$home/lock.d" 2>/dev/null && printf '%s %s\n' $$ "$boot" >"$home/lock.d/owner"
}

holder_text() { # run ID by WHO since WHEN, at 'STEP'; or, of prune.sh: prune by WHO since WHEN
    held=$(tr '\n' ' ' <"$home/holder" 2>/dev/null)
    running=$(sed -n 's/^run //p' "$home/holder" 2>/dev/null)
    [ -n "$running" ] || { printf '%s\n' "${held:-another run}"; return; }
    at=$(last_step "$home/run/$running")
    printf "%s at '%s'\n" "$held" "${at:-the start}"
}

is_overtaken() { # a run with a higher id has done something since: the id must tell which run was the last
    newest_first "$home/run" | while read -r id; do
        [ "$id" != "${run##*/}" ] || exit 1
        [ -z "$(last_step "$home/run/$id")" ] || exit 0
    done
}

take_lock() {
    exec 9>>"$home/lock"
    waited=0
    if [ -s "$home/held" ]; then
        event locked holder "$(head -n 1 "$home/held")"
        refuse locked
    fi
    until try_lock; do
        [ -z "$cancelled" ] || { event locked holder "cancelled while it waited"; refuse locked; }
        # A runner that was killed leaves its last command behind, which holds the lock until it is done.
        holder=$(sed -n 's/^pid //p' "$home/holder" 2>/dev/null)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then limit=60; else limit=$lock_wait; fi
        if [ "$waited" -ge "$limit" ]; then
            event locked holder "$(holder_text)"
            refuse locked
        fi
        [ "$waited" -gt 0 ] || event waiting holder "$(holder_text)"
        sleep 1
        waited=$((waited + 1))
    done
    locked=yes
    case $previous in 0) deployed='' ;; *) deployed=$previous ;; esac      # release 0 was never deployed
    [ "$(current_release "$home")" = "$deployed" ] && ! is_overtaken || refuse stale
    rm -rf "$home"/run/*/scratch "$home"/*.new      # of a runner that was killed
    mkdir "$scratch"
    printf 'run %s\nby %s\nsince %s\npid %s\n' "${run##*/}" "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $$ >"$home/holder"
}

# --- the sequence -----------------------------------------------------------------------------------------------------

pause=0.1
sleep 0.0 2>/dev/null || pause=1     # not every sleep takes fractions

cancel() {
    cancelled=yes
    [ -z "$child" ] || stop_child
}

step_event() { event step name "$step" state "$1" code "${code:-}" output "$(wc -c <"$run/output")"; }

run_steps() { # FILE: 1 at the first step that fails, its name in $step
    while IFS=$tab read -r step seconds command <&3; do
        [ -z "$cancelled" ] || return 1
        code=''
        step_event begin
        ( eval "$command" ) >>"$run/output" 2>&1 3<&- </dev/null &
        child=$!
        wait_for_child "$seconds"
        if [ "$code" -eq 0 ]; then step_event "done"; continue; fi
        if [ -n "$cancelled" ]; then step_event cancelled
        elif [ -n "$overdue" ] || [ "$code" -eq 124 ]; then step_event overdue
        else step_event failed; fi
        return 1
    done 3<"$1"
}

wait_for_child() { # SECONDS, 0 for ever → $code
    overdue=''
    if [ "$1" -gt 0 ]; then
        until_when=$(uptime_now) until_when=$((${until_when%.*} + $1))
        while kill -0 "$child" 2>/dev/null; do
            sleep "$pause"
            now=$(uptime_now)
            [ "${now%.*}" -lt "$until_when" ] || { overdue=yes; stop_child; break; }
        done
    fi
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done   # a trap ends `wait` early
    child=''
}

stop_child() { # the runner leads its own process group (setsid), so this reaches the step's commands and theirs
    trap '' TERM
    kill -TERM 0 2>/dev/null
    trap cancel TERM
}

restore() {
    failed=$step
    cancelled=''
    if [ ! -e "$run/touched" ]; then
        [ -z "$previous" ] || restore_images "$previous" >>"$run/output" 2>&1
        finish kept
    fi
    event restore after "$failed" release "${previous:-nothing}"
    trap : TERM INT      # what puts things back is not cancelled (and, unlike '', this is not inherited)
    tell_cut_jobs
    undoing=yes
    if run_steps "$run/undo"; then finish restored; fi
    if [ -n "$(tell_running)" ]; then finish partly; else finish down; fi
}

trap cancel TERM INT
trap '' HUP PIPE
begun=$(uptime_now)
printf '%s\n' $$ >"$run/pid"     # before the first event: a run with events and without a process was interrupted
event start run "${run##*/}" release "$release"
printf '%s\n' "$release" >"$run/release"
take_lock
since=$(date +%s) began=$(date -u +%Y-%m-%dT%H:%M:%S)
! grep -qE "$tab(start_services |health|downtime )" "$run/steps" || record_before
! grep -q "${tab}downtime " "$run/steps" || record_serving
if run_steps "$run/steps"; then finish deployed; fi
# A release that once ran healthy stays one to go back to, though this run of it failed.
if [ "$(cat "$home/releases/$release/outcome" 2>/dev/null)" != good ]; then record_outcome failed; fi
restore
