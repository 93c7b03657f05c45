#!/bin/sh
# downtime.sh: for how long each service was down during the run. Functions only: runner.sh sources it; `downtime` is a
# command of a step.
#
# Docker keeps some 250 events, and loses older ones. So a listener notes them all, from the beginning of the run on, in
# $scratch/events, and its end in $scratch/listened: without that file it still listens, and has missed nothing.
# The run's file `serving` has rows `ID SERVICE` of the containers that served before anything happened.
# shellcheck disable=SC2015,SC2154,SC2317  # runner.sh sets these; a step calls downtime by name

record_serving() { # before anything happens, of the states that were read for that; then listens
    awk -F"$tab" '$2 == "running" && ($3 == "-" || $3 == "healthy") { print $9 "\t" $1 }' \
        "$scratch/rows.all" >"$run/serving" 2>/dev/null
    clock_offset >"$scratch/offset"
    listen 9>&- </dev/null >/dev/null 2>&1 &
}

listen() { # for as long as this run goes on
    command docker events --since "$since" --filter "label=$project_label=$project" --filter type=container \
        --filter event=start --filter event=die --filter event=kill --filter event=stop --filter event=destroy \
        --filter event=health_status --format "{{.TimeNano}}$tab{{.Action}}$tab{{.Actor.ID}}\
$tab{{index .Actor.Attributes \"$service_label\"}}$tab{{index .Actor.Attributes \"signal\"}}" >"$scratch/events" &
    listener=$!
    while [ -d "$scratch" ] && kill -0 $$ 2>/dev/null && kill -0 "$listener" 2>/dev/null; do sleep 1; done
    kill "$listener" 2>/dev/null
    [ ! -d "$scratch" ] || : >"$scratch/listened"
}

clock_offset() { # the server's clock less its uptime, in seconds: another one later, and the clock was set
    read -r up _ </proc/uptime
    printf '%s %s\n' "$(date +%s)" "${up%.*}" | awk '{ print $1 - $2 }'
}

# Exit code 1: a service was down for longer than SECONDS, or that is not known. A service is down from the moment its
# last container that served is told to stop (or dies) until one is healthy; without a health check, until one is
# started. Writes rows `SERVICE SECONDS` into $scratch/downtime.
downtime() { # SECONDS or ''
    tries=0
    until measure_downtime; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || break        # what runs was not seen to come back
        sleep "$pause"
        read_states_again
    done
    why=''
    [ "$tries" -lt 20 ] || why='the engine did not tell when a service came back'
    [ ! -e "$scratch/listened" ] || why='the engine went away meanwhile, and its events with it'
    moved=$(($(clock_offset) - $(cat "$scratch/offset")))
    case $moved in -[01] | [01]) ;; *) why="the server's clock was set meanwhile" ;; esac
    if [ -n "$why" ]; then
        rm -f "$scratch/downtime"
        event downtime_unknown why "$why"
        [ -z "$1" ] || printf 'how long services were down is not known: %s\n' "$why"
        [ -z "$1" ]
        return
    fi
    while IFS=$tab read -r service seconds; do
        event downtime service "$service" seconds "$seconds"
    done <"$scratch/downtime"
    [ -z "$1" ] || awk -F"$tab" -v most="$1" '
        $2 > most { print $1 " was down for " $2 " s, more than " most; bad = 1 }
        END { exit bad }
    ' "$scratch/downtime"
}

# Of the states that were read last. 1: a service that runs has not come back yet, as far as the events go.
measure_downtime() {
    cut -f1-3 "$scratch/rows.all" >"$scratch/served"
    cp "$scratch/events" "$scratch/events.now" 2>/dev/null || : >"$scratch/events.now"
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
        FILENAME == ARGV[1] {
            if ($3 != "-") checked[$1]
            if ($2 == "running" && ($3 == "-" || $3 == "healthy")) running[$1]
            next
        }
        FILENAME == ARGV[2] { serves[$1]; up[$2]++; next }
        { at = $1 / 1e9; id = $3; service = $4 }
        $2 ~ /^health_status: healthy/ || ($2 == "start" && !(service in checked)) { comes(id, service, at) }
        $2 == "kill" { if (!(id in told)) told[id] = at; next }       # with many a signal it only reloads
        $2 == "die" || $2 == "stop" || $2 == "destroy" {
            goes(id, service, (id in told) && at - told[id] < 3600 && $2 == "die" ? told[id] : at)
            delete told[id]
        }
        END {
            for (service in up) printf "%s\t%.2f\n", service, down[service]
            for (service in gone) if (service in running) exit 1
        }
    ' "$scratch/served" "$run/serving" "$scratch/events.now" >"$scratch/downtime.new"
    all_back=$?
    sort "$scratch/downtime.new" >"$scratch/downtime"
    return "$all_back"
}
