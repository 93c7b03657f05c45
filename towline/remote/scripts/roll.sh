#!/bin/sh
# roll.sh: a service's new containers beside its old ones, and no request lost when the old ones go.
# shellcheck disable=SC2154,SC2317  # sourced by runner.sh, whose settings and functions it uses; a step calls it by name

# The new beside the old; when it is healthy the old is stopped with its grace period. Not healthy: the new goes, the old was
# never touched.
roll() { # SERVICE COUNT: of new ones
    old=$(containers_of "$1")
    if [ -z "$old" ]; then in_live docker compose --project-name "$project" up --detach --no-deps "$1"; return; fi
    ! as_wanted "$1" || return 0
    # one that has ended would be started again in place of a new one
    for id in $(containers_of "$1" --all | grep -vxF "$old"); do docker rm --force "$id" >/dev/null; done
    all=$(($(echo "$old" | wc -l) + $2))
    if ! in_live docker compose --project-name "$project" up --detach --no-deps --no-recreate --scale "$1=$all" "$1" ||
        ! new=$(containers_of "$1" --all | grep -vxF "$old") || ! healthy_ones "$new"; then
        # --all: one that crashed is not among the running, and would stay beside the old
        for id in $(containers_of "$1" --all | grep -vxF "$old"); do docker rm --force --volumes "$id" >/dev/null; done
        return 1
    fi
    # shellcheck disable=SC2086
    half=$(docker inspect --format '{{with .Config.Healthcheck}}{{printf "%d" .Interval}}{{end}}' $old |
        awk '{ half = ($1 ? $1 / 1e9 : 30) / 2; if (!least || half < least) least = half } END { print least }')
    leave_rotation
    tries=1
    until stay_away sleep "$until_used" || [ "$tries" -ge 5 ]; do tries=$((tries + 1)); done
    # shellcheck disable=SC2086
    stay_away docker stop $old
    # shellcheck disable=SC2086
    docker rm $old
}

# What `up` would leave alone: made from the settings that the live folder has, and from the image that has the name now.
as_wanted() { # SERVICE, and its containers in $old
    wanted=$(in_live docker compose --project-name "$project" config --hash "$1")
    # shellcheck disable=SC2086
    docker inspect --format '{{index .Config.Labels "com.docker.compose.config-hash"}} {{.Image}} {{.Config.Image}}' $old >"$scratch/look.old"
    while read -r hash image name; do
        [ "$hash" = "${wanted##* }" ] && [ "$image" = "$(docker image inspect --format '{{.Id}}' "$name")" ] || return 1
    done <"$scratch/look.old"
}

# Stopped as they are, the old ones' addresses are gone before Traefik hears of it: requests to them hang for 3 s each. But it sends
# nothing to what is unhealthy, and so Docker calls what was paused (moby, container/health.go), for a blink here, until its health
# check has passed again. That comes an interval later.
leave_rotation() { # $old
    blink
    nudged=$(uptime_now)
    nudge
    # What Traefik has read it may use 2 s later (providersThrottleDuration). A busy server takes longer for both.
    until_used=$(echo "$nudged $(uptime_now)" | awk '{ t = 2.5 + $2 - $1; print (t < 8 ? int(t + 0.99) : 8) }')
}

# The command, and before an interval has passed a blink again. 1 when $old was healthy in between: then it has left anew.
stay_away() { # COMMAND [WORD]…
    was_in=''
    "$@" &
    while still_runs $! "$half"; do if any_healthy; then was_in=yes; leave_rotation; else blink; fi; done
    wait $!
    ! any_healthy || { was_in=yes; leave_rotation; }
    [ -z "$was_in" ]
}

# shellcheck disable=SC2086
any_healthy() { docker inspect --format '{{with .State.Health}}{{.Status}}{{end}}' $old 2>/dev/null | grep -qx healthy; }

# shellcheck disable=SC2086
blink() { ( trap '' TERM; docker pause $old; docker unpause $old ) >/dev/null 2>&1; }     # none is left paused

nudge() { # Traefik looks when some container starts: nothing but Docker's own init
    # shellcheck disable=SC2086
    image=$(docker inspect --format '{{.Image}}' $old | head -n 1)
    docker run --rm --network none --init --no-healthcheck --log-driver none --entrypoint /sbin/docker-init "$image" --version >/dev/null 2>&1
}

still_runs() { # PID SECONDS: 0 when it still runs after so long
    until_when=$(uptime_now)
    until_when=$(echo "$until_when $2" | awk '{ print $1 + $2 }')
    while kill -0 "$1" 2>/dev/null; do
        ! uptime_now | awk -v until="$until_when" '{ exit !($1 >= until) }' || return 0
        sleep "$pause"
    done
    return 1
}

healthy_ones() { # IDS: 0 when all of them are healthy in time
    deadline=$(uptime_now) deadline=$((${deadline%.*} + timeout))
    while :; do
        # shellcheck disable=SC2086
        states=$(docker inspect --format '{{.State.Status}}{{if .State.Health}} {{.State.Health.Status}}{{end}}' $1)
        [ "$(echo "$states" | sort -u)" != "running healthy" ] || return 0
        now=$(uptime_now)
        if echo "$states" | grep -qE 'unhealthy|exited|dead' || [ "${now%.*}" -ge "$deadline" ]; then
            for id in $1; do
                docker inspect --format "bad$tab{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.Name}}$tab{{.State.Status}}{{if .State.Health}}, {{.State.Health.Status}}{{end}}" "$id"
            done >"$scratch/look.verdicts"
            show_bad '^bad'
            return 1
        fi
        sleep "$pause"
    done
}
