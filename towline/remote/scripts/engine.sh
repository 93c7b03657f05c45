#!/bin/sh
# engine.sh: the commands of steps that need more of Docker than one command. Functions only: runner.sh sources it.
# Commands of steps: in_live, in_release, in_live_if_any, need_network, pull, health, restart_after, signal,
# signal_back, mounts, downtime. They write their events with `event` of runner.sh.
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name

in_live() { # COMMAND [WORD]…: where the live release runs, with its Compose files
    : >"$run/touched"
    applied=$(cat "$run/applied" 2>/dev/null || printf '%s\n' "$previous")
    use_compose_files "$applied"
    cd "$(folder_of "$applied")" && "$@"
}

in_release() { use_compose_files "$release"; cd "$home/releases/$release/files" && "$@"; }

in_live_if_any() { [ ! -d "$live" ] || in_live "$@"; }

need_network() { # NAME: makes it, unless it is there
    docker network inspect "$1" >/dev/null 2>&1 || { docker network create "$1" && event network name "$1"; }
}

pull() { # images that are neither on the host nor built: pulled while the old containers still serve
    (in_release compose config --images) >"$scratch/images" || return 1
    while read -r image; do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull "$image" || return 1
    done <"$scratch/images"
}

# --- health -----------------------------------------------------------------------------------------------------------

# A row for each container of the project: SERVICE STATE HEALTH CODE POLICY RESTARTS STARTED NAME.
container_state="$service_of$tab{{.State.Status}}$tab$health_of$tab{{.State.ExitCode}}$tab$restart_policy_of\
$tab{{.RestartCount}}$tab{{.State.StartedAt}}$tab{{.Name}}"

read_states() { inspect_project "$container_state" >"$scratch/containers"; }

# Prints a row `VERDICT SERVICE CONTAINER WHY` for each container. VERDICT: good, bad, wait, or settle (it runs without
# a health check, and $scratch/containers.before does not have it with the same start: it has not been seen to stay up
# yet).
judge_states() {
    awk -F"$tab" '
        FILENAME == ARGV[1] { before[$8] = $6 " " $7; next }
        {
            verdict = "wait"
            why = $2
            if ($2 == "running") {
                if ($3 == "healthy") verdict = "good"
                else if ($3 == "unhealthy") { verdict = "bad"; why = "unhealthy" }
                else if ($3 == "-") verdict = (before[$8] == $6 " " $7) ? "good" : "settle"
                else why = "health: " $3
            } else if ($2 == "exited" && $4 == 0 && ($5 == "no" || $5 == "on-failure")) verdict = "good"
            else if ($2 == "exited" && $5 == "no" || $2 == "dead") { verdict = "bad"; why = "exited with code " $4 }
            else if (($2 == "restarting" || $2 == "exited") && $6 >= 3) {
                verdict = "bad"
                why = "restarts over and over, exit code " $4
            }
            print verdict "\t" $1 "\t" substr($8, 2) "\t" why
        }' "$scratch/containers.before" "$scratch/containers"
}

health() { # waits until every container is good. 1: one is bad, or not all are good after $timeout seconds
    deadline=$(uptime_now)
    deadline=$((${deadline%.*} + timeout))
    : >"$scratch/containers.before"
    while :; do
        read_states
        judge_states >"$scratch/verdicts"
        [ -s "$scratch/verdicts" ] || { event unhealthy service "$project" why "no container is there"; return 1; }
        if grep -q '^bad' "$scratch/verdicts"; then report_unhealthy bad; return 1; fi
        if ! grep -qv '^good' "$scratch/verdicts"; then return 0; fi
        now=$(uptime_now)
        if [ "${now%.*}" -ge "$deadline" ]; then report_unhealthy wait; return 1; fi
        if grep -q '^wait' "$scratch/verdicts"; then sleep "$pause"; continue; fi
        mv "$scratch/containers" "$scratch/containers.before"
        sleep 1
    done
}

report_unhealthy() { # VERDICT: an event for each container that has it, and the last lines of its log
    grep "^$1" "$scratch/verdicts" | while IFS=$tab read -r _ service container why; do
        event unhealthy service "$service" why "$why"
        docker logs --tail 20 "$container" 2>&1 |
            while IFS= read -r line; do event log service "$service" line "$line"; done
    done
}

# --- update and rolling: only what changes ----------------------------------------------------------------------------

# For a service that depends on a container that is new, or lives in the namespaces of one that was started again:
# compose (2.40) restarts it only where it replaced that container itself, and leaves it without network where it only
# restarted it.
restart_after() { # SERVICE OTHER: those containers of SERVICE that were started before the last one of OTHER
    last=$(start_times "$2" | sort | tail -n 1)
    start_times "$1" --all | while read -r started id; do
        ! expr "$started" '<' "$last" >/dev/null || docker restart "$id" || exit 1
    done
}

start_times() { # SERVICE [--all]: lines `STARTED ID`; without the Z, since 1.2Z sorts before 1.23Z
    for id in $(service_containers "$@"); do docker inspect --format "{{.State.StartedAt}} $id" "$id" | tr -d Z; done
}

signal() { # SERVICE SIGNAL: for a service that reads its mounted files again by itself
    in_live compose kill --signal "$2" "$1"
}

# When files are taken back: to the containers that ran before this run began, which may have read the files that go.
# One that was started since has not, and may not have set up its handler yet: the signal would end it.
signal_back() { # SERVICE SIGNAL
    for id in $(service_containers "$1"); do
        started=$(docker inspect --format '{{.State.StartedAt}}' "$id")
        ! expr "$started" '<' "$began" >/dev/null || docker kill --signal "$2" "$id" || :
    done
}

# --- mounted files ----------------------------------------------------------------------------------------------------

# A file that was mounted by itself and then replaced keeps its old content in the container, and compose does not see
# it. By now every container should see what the release has; one that does not is made anew.
mounts() {
    inspect_project '{{range .Mounts}}{{.Type}} {{.Source}}{{println}}{{end}}' | grep -qF "bind $live/" || return 0
    sh "$run/drift.sh" "$(pwd)" "$stack" "$project" >"$scratch/drift" || return 0
    stale=$(sed -n "s/^stale$tab\([^$tab]*\)$tab.*/\1/p" "$scratch/drift" | sort -u)
    [ -n "$stale" ] || return 0
    for service in $stale; do
        event stale service "$service"
        (in_live compose up --detach --no-deps --force-recreate "$service") || return 1
    done
    health
}

# --- downtime ---------------------------------------------------------------------------------------------------------

# Writes the seconds that each service was down into $scratch/downtime, a row `SERVICE SECONDS` each, from Docker's
# events since the run began. A service is down from the moment its last container that served is told to stop (or dies)
# until one is healthy; without a health check, until one is started. Exit code 1: a service was down for longer than
# SECONDS.
downtime() { # SECONDS or ''
    docker events --since "$since" --until "$(precise_time)" --filter "label=$project_label=$project" \
        --filter type=container --format "{{.TimeNano}}$tab{{.Action}}$tab{{.Actor.ID}}\
$tab{{index .Actor.Attributes \"$service_label\"}}$tab{{index .Actor.Attributes \"signal\"}}" >"$scratch/events"
    cut -f1,3 "$scratch/containers" >"$scratch/checked"
    awk -F"$tab" '
        function comes(id, service, at) {
            if (id in serves) return
            serves[id]
            if (up[service]++ || !(service in gone)) return
            down[service] += at - gone[service]
            delete gone[service]
        }
        function goes(id, service, at) {
            if (!(id in serves)) return
            delete serves[id]
            if (--up[service] == 0) gone[service] = at
        }
        FILENAME == ARGV[1] { if ($2 != "-") checked[$1]; next }
        FILENAME == ARGV[2] { serves[$1]; up[$2]++; next }
        { at = $1 / 1e9; id = $3; service = $4 }
        $2 ~ /^health_status: healthy/ || ($2 == "start" && !(service in checked)) { comes(id, service, at) }
        $2 == "kill" && $5 ~ /^(1|10|12|28)$/ { next }      # HUP, USR1, USR2, WINCH: it reloads
        $2 == "kill" || $2 == "die" || $2 == "stop" || $2 == "destroy" { goes(id, service, at) }
        END { for (service in up) printf "%s\t%.2f\n", service, down[service] }
    ' "$scratch/checked" "$run/serving" "$scratch/events" | sort >"$scratch/downtime"
    while IFS=$tab read -r service seconds; do
        event downtime service "$service" seconds "$seconds"
    done <"$scratch/downtime"
    [ -z "$1" ] || awk -F"$tab" -v most="$1" '
        $2 > most { print $1 " was down for " $2 " s, more than " most; bad = 1 }
        END { exit bad }
    ' "$scratch/downtime"
}

precise_time() { # whole seconds would leave out what happened in this one: most of a short downtime
    now=$(date +%s.%N)
    case $now in *[!0-9.]* | *.) sleep 1; now=$(date +%s) ;; esac     # a date without nanoseconds
    printf '%s\n' "$now"
}

record_serving() { # the containers that serve before anything happens: rows `ID SERVICE` into the run's file `serving`
    inspect_project "{{.ID}}$tab$service_of$tab{{.State.Status}}$tab$health_of" |
        awk -F"$tab" '$3 == "running" && ($4 == "-" || $4 == "healthy") { print $1 "\t" $2 }' >"$run/serving"
}
