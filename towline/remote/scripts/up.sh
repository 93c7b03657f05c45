#!/bin/sh
# up.sh: starts services, and ends what takes longer than health.sh says that it may. Functions only: runner.sh sources
# it. Commands of steps: start_services, start_first. They write their events with `event` of runner.sh.
# shellcheck disable=SC2015,SC2154,SC2317  # runner.sh and health.sh set these; steps call functions by name

# `up` waits for what services depend on: as long as each of that may take.
start_services() { # COMMAND [WORD]…: `docker compose up` with its options
    in_live up_within_limits "$@" || return
    read_states && cut -f1 "$scratch/containers" | sort | uniq -c | awk -v OFS="$tab" '{ print $2, $1 }' \
        >"$scratch/expected"
}

start_first() { # SERVICE: before others that depend on it are rolled; a one-shot comes to its end
    in_live run_within_limits docker compose --project-name "$project" up --detach --no-build --pull never \
        --no-deps "$1" && health "$1"
}

up_as_it_is() { # [WORD]…: with the images that are there
    in_live compose up --detach --no-build --pull never "$@"
}

# Compose starts nothing that depends on what is bad. Where that was bad before, and is not changed, the others start
# without it, as they ran without it before.
up_within_limits() { # COMMAND [WORD]…
    run_within_limits "$@" && return
    code=$?
    case " $* " in *" --no-deps "*) return "$code" ;; esac
    [ "$code" -ne 124 ] || return 124
    read_states && judge_states | awk -F"$tab" '$1 == "known" { print $2 }' | sort -u >"$scratch/known"
    [ -s "$scratch/known" ] || return "$code"
    others=$(compose config --services | grep -vxFf "$scratch/known")
    [ -n "$others" ] || return "$code"
    printf 'bad before, and not waited for: %s\n' "$(paste -sd ' ' "$scratch/known")"
    # shellcheck disable=SC2086
    run_within_limits "$@" --no-deps $others
}

# Ends it when for $timeout seconds there was nothing to wait for: no container that has not had its own time. 124: it
# was ended.
run_within_limits() { # COMMAND [WORD]…
    began_at=$(whole_uptime)
    "$@" &
    command=$! next_check=$began_at idle_since=$began_at       # at once: a container's time counts since it was seen
    while still_runs "$command" 1; do
        now=$(whole_uptime)
        [ "$now" -ge "$next_check" ] || continue
        next_check=$((now + 3))
        if read_states; then judge_states >"$scratch/verdicts"; else : >"$scratch/verdicts"; fi
        tell_jobs
        if awk -F"$tab" '$1 ~ /^(wait|job)$/ && $6 < $7 { found = 1 } END { exit !found }' "$scratch/verdicts"; then
            idle_since=''
        elif [ -z "$idle_since" ]; then
            idle_since=$now
        elif [ $((now - idle_since)) -ge "$timeout" ]; then
            end_command "$command"
            return 124
        fi
    done
    wait "$command"
}

end_command() { # PID
    kill "$1" 2>/dev/null
    ! still_runs "$1" 10 || kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# --- one-shots at work ------------------------------------------------------------------------------------------------

tell_jobs() { # of $scratch/verdicts: an event for each, every 10 s
    awk -F"$tab" '$1 == "job" && $6 >= 3' "$scratch/verdicts" >"$scratch/jobs"
    [ -s "$scratch/jobs" ] || return 0
    now=$(whole_uptime)
    [ $((now - ${told_at:-0})) -ge 10 ] || return 0
    told_at=$now
    while IFS=$tab read -r _ service _ _ _ elapsed most; do
        event job service "$service" seconds "$elapsed" limit "$most"
    done <"$scratch/jobs"
}

# What a run that has failed leaves half-way: the one-shots that it has started, and that are still at work.
tell_cut_jobs() {
    [ -e "$run/before" ] || return 0
    began_at=$(whole_uptime)
    read_states || return 0
    judge_states | grep "^job$tab" | while IFS=$tab read -r _ service _ _ id elapsed _; do
        ! awk -F"$tab" -v id="$id" '$2 == id { found = 1 } END { exit !found }' "$run/before" || continue
        event cut service "$service" seconds "$elapsed"
    done
}

# Writes an event with the services that run, and prints them.
tell_running() {
    [ -e "$run/before" ] || return 0
    read_states || : >"$scratch/containers"
    running=$(awk -F"$tab" '$2 == "running" { print $1 ($3 == "unhealthy" ? " (unhealthy)" : "") }' \
        "$scratch/containers" | sort -u | paste -sd , - | sed 's/,/, /g')
    event running services "$running"
    printf '%s\n' "$running"
}
