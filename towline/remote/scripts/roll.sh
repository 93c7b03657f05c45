#!/bin/sh
# roll.sh: a service's new containers beside its old ones, and no request lost when the old ones go. Functions only:
# runner.sh sources it; `roll` is the command of a step. The functions share the variable old: the ids of the old
# containers.
# shellcheck disable=SC2086,SC2154,SC2317  # old and new are words; runner.sh sets variables; a step calls roll by name

# Starts the new ones beside the old; when they are healthy the old are stopped with their grace period. Not healthy:
# the new are removed, the old were never touched.
roll() { # SERVICE COUNT: of new ones
    old=$(service_containers "$1")
    if [ -z "$old" ]; then up_as_it_is --no-deps "$1"; return; fi
    ! is_up_to_date "$1" || return 0
    remove_others "$1"      # one that has ended would be started again in place of a new one
    total=$(($(printf '%s\n' "$old" | wc -l) + $2))
    if ! up_as_it_is --no-deps --no-recreate --scale "$1=$total" "$1" ||
        ! new=$(other_containers "$1") || ! become_healthy "$1" "$new"; then
        remove_others "$1" --volumes
        return 1
    fi
    half_interval=$(docker inspect --format '{{with .Config.Healthcheck}}{{printf "%d" .Interval}}{{end}}' $old |
        awk '{ half = ($1 ? $1 / 1e9 : 30) / 2; if (!least || half < least) least = half }
            END { printf "%.2f\n", least }')
    leave_rotation
    tries=1
    until keep_out_while sleep "$in_use_for" || [ "$tries" -ge 5 ]; do tries=$((tries + 1)); done
    keep_out_while docker stop $old
    docker rm $old
}

# --all: one that crashed is not among the running, and would stay beside the old
other_containers() { service_containers "$1" --all | grep -vxF "$old"; }      # SERVICE: ids without the old

remove_others() { # SERVICE [OPTION]
    for id in $(other_containers "$1"); do docker rm --force ${2:+"$2"} "$id" >/dev/null; done
}

# Whether `up` would leave the old ones alone: made from the settings in the live folder, and from the image that has
# the name now.
is_up_to_date() { # SERVICE
    wanted=$(in_live config_hashes | awk -v service="$1" '$1 == service { print $2 }')
    docker inspect --format "$config_hash_of {{.Image}} {{.Config.Image}}" $old >"$scratch/old"
    while read -r hash image name; do
        [ "$hash" = "$wanted" ] || return 1
        [ "$image" = "$(docker image inspect --format '{{.Id}}' "$name")" ] || return 1
    done <"$scratch/old"
}

# Stopped as they are, the old ones' addresses are gone before Traefik hears of it: requests to them hang for 3 s each.
# But it sends nothing to what is unhealthy, and so Docker calls what was paused (moby, container/health.go), for an
# instant here, until its health check has passed again. That comes an interval later. Sets in_use_for: the seconds for
# which Traefik may still use them.
leave_rotation() {
    make_unhealthy
    began_at=$(uptime_now)
    notify_traefik
    # What Traefik has read it may use 2 s later (providersThrottleDuration). A busy server takes longer for both.
    in_use_for=$(printf '%s %s\n' "$began_at" "$(uptime_now)" |
        awk '{ t = 2.5 + $2 - $1; print (t < 8 ? int(t + 0.99) : 8) }')
}

# Runs the command, and before a health check's interval has passed makes the old ones unhealthy again. 1: one was
# healthy in between; then they have left the rotation anew.
keep_out_while() { # COMMAND [WORD]…
    was_in=''
    "$@" &
    while still_runs $! "$half_interval"; do
        if any_healthy; then was_in=yes; leave_rotation; else make_unhealthy; fi
    done
    wait $!
    ! any_healthy || { was_in=yes; leave_rotation; }
    [ -z "$was_in" ]
}

any_healthy() { docker inspect --format "$health_of" $old 2>/dev/null | grep -qx healthy; }

make_unhealthy() { ( trap '' TERM; docker pause $old; docker unpause $old ) >/dev/null 2>&1; }     # none is left paused

# Traefik reads the containers again when some container starts: one that runs nothing but Docker's own init.
notify_traefik() {
    image=$(docker inspect --format '{{.Image}}' $old | head -n 1)
    docker run --rm --network none --init --no-healthcheck --log-driver none --entrypoint /sbin/docker-init "$image" \
        --version >/dev/null 2>&1
}

become_healthy() { # SERVICE IDS: 0 when all of them are healthy within the time that they have; else reports them
    deadline=$(($(whole_uptime) + $(own_time "$1" "$2")))
    while :; do
        states=$(docker inspect --format "{{.State.Status}} $health_of" $2)
        [ "$(printf '%s\n' "$states" | sort -u)" != "running healthy" ] || return 0
        if printf '%s\n' "$states" | grep -qE 'unhealthy|exited|dead' || [ "$(whole_uptime)" -ge "$deadline" ]; then
            status='{{.State.Status}}{{if .State.Health}}, {{.State.Health.Status}}{{end}}'
            docker inspect --format "bad$tab$service_of$tab{{.Name}}$tab$status" $2 >"$scratch/verdicts"
            report_unhealthy bad
            return 1
        fi
        sleep "$pause"
    done
}
