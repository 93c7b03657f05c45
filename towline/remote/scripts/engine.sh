#!/bin/sh
# engine.sh: what the steps ask of Docker beyond one command.
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # sourced by runner.sh, whose settings and functions it uses; steps call it by name

in_live() { : >"$run/touched"; use_files "$(cat "$run/applied" 2>/dev/null || echo "$previous")"; cd "$live" && "$@"; }

in_release() { use_files "$release"; cd "$home/releases/$release/files" && "$@"; }

in_live_if_any() { [ ! -d "$live" ] || in_live "$@"; }

need_network() { docker network inspect "$1" >/dev/null 2>&1 || { docker network create "$1" && event network name "$1"; }; }

pull() { # images that are neither here nor built: fetched while the old containers still serve
    (in_release docker compose --project-name "$project" config --images) >"$scratch/look.images" || return 1
    while read -r image; do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull "$image" || return 1
    done <"$scratch/look.images"
}

containers() { docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.oneoff=False; }

look_at_containers() { # → service state health code policy restarts started name
    ids=$(containers)
    : >"$looks.new"
    [ -n "$ids" ] || return 0
    # shellcheck disable=SC2086
    docker inspect --format "{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.State.Status}}$tab{{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}}$tab{{.State.ExitCode}}$tab{{or .HostConfig.RestartPolicy.Name \"no\"}}$tab{{.RestartCount}}$tab{{.State.StartedAt}}$tab{{.Name}}" $ids >"$looks.new" 2>/dev/null || :
}

# good, settle (running without a health check, not looked at twice yet), wait or bad, with service, container and why
judge() {
    awk -F"$tab" '
        FILENAME == ARGV[1] { before[$8] = $6 " " $7; next }
        { verdict = "wait"; why = $2
          if ($2 == "running") {
              if ($3 == "healthy") verdict = "good"
              else if ($3 == "unhealthy") { verdict = "bad"; why = "unhealthy" }
              else if ($3 == "-") verdict = (before[$8] == $6 " " $7) ? "good" : "settle"
              else why = "health: " $3
          } else if ($2 == "exited" && $4 == 0 && ($5 == "no" || $5 == "on-failure")) verdict = "good"
          else if ($2 == "exited" && $5 == "no" || $2 == "dead") { verdict = "bad"; why = "exited with code " $4 }
          else if (($2 == "restarting" || $2 == "exited") && $6 >= 3) { verdict = "bad"; why = "restarts over and over, exit code " $4 }
          print verdict "\t" $1 "\t" substr($8, 2) "\t" why
        }' "$looks" "$looks.new"
}

health() {
    deadline=$(uptime_now)
    deadline=$((${deadline%.*} + timeout))
    : >"$looks"
    while :; do
        look_at_containers
        judge >"$scratch/look.verdicts"
        [ -s "$scratch/look.verdicts" ] || { event unhealthy service "$project" why "no container is there"; return 1; }
        if grep -q '^bad' "$scratch/look.verdicts"; then show_bad '^bad'; return 1; fi
        if ! grep -qv '^good' "$scratch/look.verdicts"; then return 0; fi
        now=$(uptime_now)
        if [ "${now%.*}" -ge "$deadline" ]; then show_bad '^wait'; return 1; fi
        if grep -q '^wait' "$scratch/look.verdicts"; then sleep "$pause"; else mv "$looks.new" "$looks"; sleep 1; fi
    done
}

show_bad() { # PATTERN: the last log lines of each container whose verdict it is
    grep "$1" "$scratch/look.verdicts" | while IFS=$tab read -r _ service container why; do
        event unhealthy service "$service" why "$why"
        docker logs --tail 20 "$container" 2>&1 | while IFS= read -r line; do event log service "$service" line "$line"; done
    done
}

# --- update and rolling: only what changes ------------------------------------------------------------------------------

# Which files compose reads: the stack's own, and the labels by which it tells that a mounted file changed. They belong to a
# release: the one whose files are live.
use_files() { # RELEASE
    [ -s "$home/releases/$1/compose_files" ] || return 0
    COMPOSE_FILE=$(cat "$home/releases/$1/compose_files")
    [ ! -s "$home/releases/$1/override.json" ] || COMPOSE_FILE=$COMPOSE_FILE:$home/releases/$1/override.json
    export COMPOSE_FILE
}

# For one that depends on a container that is new, or lives in the namespaces of one that was started again: compose (2.40) restarts
# it only where it replaced that container itself, and leaves it without network where it only restarted it.
restart_after() { # SERVICE OTHER: those containers of SERVICE that were started before the last one of OTHER
    last=$(started_of "$2" | sort | tail -n 1)
    started_of "$1" --all | while read -r started id; do
        ! expr "$started" '<' "$last" >/dev/null || docker restart "$id" || exit 1
    done
}

started_of() { # SERVICE [--all]: when and id; without the Z, since 1.2Z is before 1.23Z
    for id in $(containers_of "$@"); do docker inspect --format "{{.State.StartedAt}} $id" "$id" | tr -d Z; done
}

signal() { # SERVICE SIGNAL: for one that reads its mounted files again by itself
    in_live docker compose --project-name "$project" kill --signal "$2" "$1"
}

# When files are taken back: to what ran before this run began, and so may have read those that go. What was started since has
# not, and may not listen yet: the signal would end it.
signal_back() { # SERVICE SIGNAL
    for id in $(containers_of "$1"); do
        started=$(docker inspect --format '{{.State.StartedAt}}' "$id")
        ! expr "$started" '<' "$began" >/dev/null || docker kill --signal "$2" "$id" || :
    done
}

containers_of() { # SERVICE [--all]
    docker ps -q --no-trunc ${2:+"$2"} --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}

# --- mounted files --------------------------------------------------------------------------------------------------------

# A file that was mounted by itself and then replaced keeps its old content in the container, and compose does not see it. By
# now every container should see what the release has; one that does not is made anew.
mounts() {
    ids=$(containers)
    # shellcheck disable=SC2086
    [ -n "$ids" ] && docker inspect --format '{{range .Mounts}}{{.Type}} {{.Source}}{{"\n"}}{{end}}' $ids | grep -qF "bind $live/" || return 0
    sh "$run/drift.sh" "$(pwd)" "$stack" "$project" >"$scratch/look.drift" || return 0
    stale=$(sed -n "s/^stale$tab\([^$tab]*\)$tab.*/\1/p" "$scratch/look.drift" | sort -u)
    [ -n "$stale" ] || return 0
    for service in $stale; do
        event stale service "$service"
        (in_live docker compose --project-name "$project" up --detach --no-deps --force-recreate "$service") || return 1
    done
    health
}

# --- downtime -----------------------------------------------------------------------------------------------------------

# From Docker's own events since the run began: a service is down from the moment its last container that served is told to stop
# (or dies) until one is healthy; without a health check, until one is started. With a limit: 1 when a service was down for longer.
downtime() { # SECONDS or ''
    docker events --since "$since" --until "$(now_exactly)" --filter "label=com.docker.compose.project=$project" --filter type=container \
        --format "{{.TimeNano}}$tab{{.Action}}$tab{{.Actor.ID}}$tab{{index .Actor.Attributes \"com.docker.compose.service\"}}$tab{{index .Actor.Attributes \"signal\"}}" >"$scratch/look.events"
    cut -f1,3 "$looks.new" >"$scratch/look.checks"
    awk -F"$tab" '
        function went(id, service, at) { if (!(id in serves)) return; delete serves[id]; if (--up[service] == 0) gone[service] = at }
        FILENAME == ARGV[1] { if ($2 != "-") checked[$1]; next }
        FILENAME == ARGV[2] { serves[$1]; up[$2]++; next }
        { at = $1 / 1e9; id = $3; service = $4 }
        $2 ~ /^health_status: healthy/ || ($2 == "start" && !(service in checked)) {
            if (!(id in serves)) { serves[id]; if (up[service]++ == 0 && service in gone) { down[service] += at - gone[service]; delete gone[service] } }
        }
        $2 == "kill" && $5 ~ /^(1|10|12|28)$/ { next }      # HUP, USR1, USR2, WINCH: it reloads
        $2 == "kill" || $2 == "die" || $2 == "stop" || $2 == "destroy" { went(id, service, at) }
        END { for (service in up) printf "%s\t%.2f\n", service, down[service] }
    ' "$scratch/look.checks" "$run/serving" "$scratch/look.events" | sort >"$scratch/downtime"
    while IFS=$tab read -r service seconds; do event downtime service "$service" seconds "$seconds"; done <"$scratch/downtime"
    [ -z "$1" ] ||
        awk -F"$tab" -v most="$1" '$2 > most { print $1 " was down for " $2 " s, more than " most; bad = 1 } END { exit bad }' "$scratch/downtime"
}

now_exactly() { # whole seconds would leave out what has happened since the last one began: most of a short downtime
    now=$(date +%s.%N)
    case $now in *[!0-9.]* | *.) sleep 1; now=$(date +%s) ;; esac     # a date without nanoseconds
    echo "$now"
}

note_serving() { # who serves before anything happens: id service
    : >"$run/serving"
    ids=$(containers)
    # shellcheck disable=SC2086
    [ -z "$ids" ] || docker inspect --format "{{.ID}}$tab{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.State.Status}}$tab{{if .State.Health}}{{.State.Health.Status}}{{end}}" $ids |
        awk -F"$tab" '$3 == "running" && ($4 == "" || $4 == "healthy") { print $1 "\t" $2 }' >"$run/serving"
}
