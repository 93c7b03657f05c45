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
. ./limit.sh
. ./saving.sh
. ./containers.sh
. ./live_files.sh
. ./runs.sh
. ./lock.sh
. ./current.sh
. ./kept_images.sh
. ./manifests.sh
. ./placing.sh
. ./live.sh
. ./engine.sh
. ./health.sh
. ./up.sh
. ./downtime.sh
. ./roll.sh
. ./releases.sh
. ./made_again.sh
. ./release_zero.sh
. ./bring_data.sh
cd ../../../.. || exit 1     # ROOT
home=$(pwd)/.towline/$stack live=$(pwd)/$stack
locked='' child='' cancelled='' overdue='' step='' printed=''
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
    read -r up _ </proc/uptime
    line="{\"t\":$up,\"event\":\"$1\""
    shift
    case $* in
        *[!abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\ ._:/,+@%=\(\)-]*)
            line=$line$(json_members "$@") ;;
        *) while [ $# -gt 1 ]; do line="$line,\"$1\":\"$2\""; shift 2; done ;;      # no process for it
    esac
    printf '%s}\n' "$line" >>"$run/events"
}

finish() { # OUTCOME
    rm -rf "$scratch"
    event end outcome "$1"
    printf '%s\n' "$1" | save "$run/result"
    [ -z "$locked" ] || release_lock
    exit 0
}

refuse() { # OUTCOME: nothing has been done; a release that was sent for this run only goes again
    [ -e "$home/releases/$release/outcome" ] || rm -rf "$home/releases/${release:?}"
    finish "$1"
}

# --- the lock ---------------------------------------------------------------------------------------------------------

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
    write_holder "run ${run##*/}" "$by"
}

# --- the engine -------------------------------------------------------------------------------------------------------

engine_wait=120     # seconds for an engine that is away: one that is being restarted, or hangs

engine_answers() { [ -n "$docker_program" ] && limit 10 "$docker_program" version --format . >/dev/null 2>&1; }

read_engine() { # sets engine: which process it is; nothing where that cannot be read
    engine=''
    read -r engine 2>/dev/null <"${XDG_RUNTIME_DIR:-/var/run}/docker.pid" ||
        read -r engine 2>/dev/null </var/run/docker.pid || :
}

wait_for_engine() { # 1: it does not answer within $engine_wait seconds
    ! engine_answers || return 0
    event engine state away wait "$engine_wait"
    until_when=$(uptime_now) until_when=$((${until_when%.*} + engine_wait))
    until engine_answers; do
        now=$(uptime_now)
        if [ -n "$cancelled" ] || [ "${now%.*}" -ge "$until_when" ]; then
            event engine state gone wait "$engine_wait"
            return 1
        fi
        sleep 1
    done
    event engine state back
}

is_docker_s() { # COMMAND of a step, that can be given again when the engine went away under it
    case $1 in
        'docker '* | 'in_live docker '* | 'in_release docker '* | 'in_live_if_any docker '*) ;;
        need_network* | pull* | use_built_images* | health* | mounts*) ;;
        restore_images* | keep_release* | restart_after*) ;;
        *) return 1 ;;
    esac
}

engine_came_back() { # whether it was away while the step was at work, and answers again
    if ! engine_answers; then wait_for_engine; return; fi
    before=$engine
    read_engine
    # shellcheck disable=SC3013  # every sh of today has -nt
    [ "$engine" != "$before" ] || [ "$engine_socket" -nt "$scratch/step" ]
}

# --- the sequence -----------------------------------------------------------------------------------------------------

pause=0.1
sleep 0.0 2>/dev/null || pause=1     # not every sleep takes fractions
longest=21600       # seconds for a step that has no limit of its own, such as a build

cancel() {
    cancelled=yes
    [ -z "$child" ] || stop_child
}

step_event() { # STATE. Between two steps nothing is printed
    [ "$1" = begin ] && [ -n "$printed" ] || printed=$(wc -c <"$run/output")
    event step name "$step" state "$1" code "${code:-}" output "$printed"
}

run_steps() { # FILE: 1 at the first step that fails, its name in $step
    while IFS=$tab read -r step seconds command <&3; do
        [ -z "$cancelled" ] || return 1
        code=''
        step_event begin
        run_step "$seconds" "$command"
        if [ "$code" -ne 0 ] && [ -z "$cancelled" ] && is_docker_s "$command" && engine_came_back; then
            # containers without a restart policy stay stopped when the engine starts again
            case $step in health | mounts) command="in_live compose up --detach --remove-orphans && $command" ;; esac
            run_step "$seconds" "$command"
        fi
        if [ "$code" -eq 0 ]; then step_event "done"; continue; fi
        if [ -n "$cancelled" ]; then step_event cancelled
        elif [ -n "$overdue" ] || [ "$code" -eq 124 ]; then step_event overdue
        else step_event failed; fi
        return 1
    done 3<"$1"
}

run_step() { # SECONDS COMMAND → $code
    read_engine
    : >"$scratch/step"
    overdue=''
    ( eval "$2" ) >>"$run/output" 2>&1 3<&- </dev/null &
    child=$!
    deadline=$(uptime_now)
    if [ "$1" -gt 0 ]; then deadline=$((${deadline%.*} + $1)); else deadline=$((${deadline%.*} + longest)); fi
    printf '%s\n' "$deadline" >"$scratch/deadline"
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done   # a trap ends `wait` early
    child=''
    rm -f "$scratch/deadline"
}

stop_child() { # the runner leads its own process group (setsid), so this reaches the step's commands and theirs
    trap '' TERM
    kill -TERM 0 2>/dev/null
    trap cancel TERM
}

# The watch is a process beside the steps. It signals this one (USR1) each second while a step is overdue, or when the
# engine has not answered for $engine_wait seconds: then no step gets on.
watch_steps() {
    trap '' TERM INT USR1
    heard=$(uptime_now) heard=${heard%.*} asked=$heard
    while sleep 1; kill -0 $$ 2>/dev/null; do
        deadline=''
        read -r deadline 2>/dev/null <"$scratch/deadline" || { asked=0; continue; }
        read -r now _ </proc/uptime
        now=${now%.*}
        [ "$asked" != 0 ] || heard=$now asked=$now
        if [ $((now - asked)) -ge 15 ]; then
            asked=$now
            if engine_answers; then heard=$now; fi
        fi
        if [ "$now" -ge "$deadline" ] || [ $((now - heard)) -ge "$engine_wait" ]; then kill -USR1 $$; fi
    done
}

stop_late_step() { # at its first signal as at a cancellation; a step that does not end is killed 10 s later
    [ -n "$child" ] || return 0
    now=$(uptime_now)
    if [ -z "$overdue" ]; then
        overdue=${now%.*}
        [ "$overdue" -ge "$deadline" ] || event engine state gone wait "$engine_wait"
        stop_child
    elif [ $((${now%.*} - overdue)) -ge 10 ]; then end_tree KILL "$child"
    fi
}

was_left_unfinished() { # the run before this one: then nobody knows what runs
    newest_first "$home/run" | {
        while read -r id; do
            [ "$id" != "${run##*/}" ] && [ -e "$home/run/$id/touched" ] || continue
            case $(cat "$home/run/$id/result" 2>/dev/null) in '' | partly | down) exit 0 ;; esac
            break
        done
        exit 1
    }
}

restore() {
    failed=$step
    cancelled='' printed=''
    if [ ! -e "$run/touched" ] && ! was_left_unfinished; then
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
trap stop_late_step USR1
(exec 9>&-; watch_steps) >/dev/null 2>&1 </dev/null &      # without the lock: it ends a second after this process
since=$(date +%s) began=$(date -u +%Y-%m-%dT%H:%M:%S)
! grep -qE "$tab(start_services |health|downtime )" "$run/steps" || record_before
! grep -q "${tab}downtime " "$run/steps" || record_serving
if run_steps "$run/steps"; then finish deployed; fi
# A release that once ran healthy stays one to go back to, though this run of it failed.
if [ "$(cat "$home/releases/$release/outcome" 2>/dev/null)" != good ]; then record_outcome failed; fi
restore
