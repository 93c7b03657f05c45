#!/bin/sh
# survey.sh ROOT [STACK PROJECT]…: what stands on the host, a `key<TAB>value…` line each. Changes nothing.
#   engine WHY SOCKET              docker does not answer; then nothing of containers is told. SOCKET: none (no docker at all),
#                                  absent, denied (to this login) or open
#   container JSON                 each of the engine's containers, as `docker inspect` has it
#   compose PATH                   the plugin
#   disk PATH SIZE FREE INODES FREE FILESYSTEM     bytes and numbers, for each path that stacks or Docker write to
#   listen ADDRESS                 as /proc/net/tcp has it
#   log PATH BYTES                 a container's log
#   name NAME ADDRESS…             what the host resolves a name to that a Traefik rule has; no address: nothing
#   cert PATH BASE64               the first certificate of a file in a live folder or mounted into a container
#   stack STACK                    what follows is of it: live, current, meta, folder, model, env, and the lines of drift.sh
#   env NAME set|empty             what the live .env sets; never a value
# The functions are in seen.sh, which is sent before it.
# shellcheck disable=SC2034,SC2154
set -u
umask 077
top=$1
shift
all=$(mktemp -d) || exit 1
trap 'rm -rf "$all"' EXIT
trap 'exit 129' HUP INT PIPE TERM

# Without the environment: it holds secrets.
fields='{"id":{{json .ID}},"name":{{json .Name}},"state":{{json .State}},"image_id":{{json .Image}},"restarts":{{json .RestartCount}},"command":{{json .Args}},"host":{"ports":{{json .HostConfig.PortBindings}},"network":{{json .HostConfig.NetworkMode}},"restart":{{json .HostConfig.RestartPolicy}},"log":{{json .HostConfig.LogConfig}}},"log_path":{{json .LogPath}},"mounts":{{json .Mounts}},"image":{{json .Config.Image}},"labels":{{json .Config.Labels}},"ports":{{json .NetworkSettings.Ports}},"networks":{{json .NetworkSettings.Networks}}}'

look_at_all() {
    ids=$(docker ps --all --quiet --no-trunc 2>"$all/engine.err") || return 1
    [ -n "$ids" ] || return 0
    # One that goes between the two makes inspect exit 1; it still tells of all the others.
    # shellcheck disable=SC2086
    docker inspect --type container --format "json$tab$fields{{println}}of$tab{{index .Config.Labels \"com.docker.compose.project\"}}$tab{{index .Config.Labels \"com.docker.compose.oneoff\"}}{{println}}$row{{range .Mounts}}{{println}}at$tab{{.Source}}{{end}}{{println}}at$tab{{.HostnamePath}}{{println}}log$tab{{.LogPath}}" $ids 2>/dev/null || :
}

of_project() { # PROJECT: its own rows, as look_at_once and look_at_mounts read them
    awk -F"$tab" -v project="$1" '
        $1 == "of" { ours = $2 == project && $3 != "True"; next }
        ours && ($1 == "container" || $1 == "mount")
    ' "$all/containers"
}

look_at_stack() { # STACK PROJECT
    scratch=$all/of.$1 home=$root/.towline/$1 live=$root/$1 project=$2
    mkdir "$scratch"
    real=$(cd "$live" 2>/dev/null && pwd -P) || real=$live
    printf 'stack\t%s\n' "$1"
    [ ! -d "$live" ] || printf 'live\t%s\n' "$live"
    read -r current 2>/dev/null <"$home/current" || return 0
    release=$home/releases/$current meta=''
    read -r meta 2>/dev/null <"$release/meta.json"
    printf 'current\t%s\nmeta\t%s\n' "$current" "$meta"
    [ ! -s "$release/model" ] || { IFS= read -r folder; printf 'folder\t%s\nmodel\t' "$folder"; tr -d '\n\t'; echo; } <"$release/model"
    of_project "$project" >"$scratch/containers"
    [ ! -s "$release/manifest" ] || look_at_files
    # Compose puts an id in place of `network_mode: service:x` before it hashes: for those the two are never the same.
    awk -F"$tab" '
        FILENAME == ARGV[1] { if ($9 ~ /container:/) borrows[$4]; next }
        $3 ~ /^sha256:/ { print "kept\t" $1 "\t" $3 }
        $4 != "" && !($1 in borrows) { print "hash\t" $1 "\t" $4 }
    ' "$scratch/containers" "$release/images" 2>/dev/null
    # shellcheck disable=SC2016
    [ ! -f "$live/.env" ] || awk '
        sub(/^(export +)?[A-Za-z_][A-Za-z0-9_]*=/, "&\t") { split($0, part, "\t"); name = part[1]; sub(/^export +/, "", name); sub(/=$/, "", name)
            value = $0; sub(/^[^\t]*\t/, "", value); print "env\t" name "\t" (value ~ /^(["\047])?(["\047])?[ \t\r]*$/ ? "empty" : "set") }
    ' "$live/.env"
    look_at_mounts
    look_at_once
    look_at_stale
}

# The first certificate of each file below a live folder or mounted into a container: no key ever leaves the host.
look_at_certs() { # STACK PROJECT…
    {
        while [ $# -gt 1 ]; do echo "$root/$1"; shift 2; done
        sed -n "s/^mount$tab\([^$tab]*\)$tab.*/\1/p" "$all/containers"
    } | grep -vE '^(/|/etc|/usr|/var|/var/run|/run|/proc|/sys|/dev|/home|/root|/var/lib/docker|/etc/ssl/certs.*|/usr/.*|.*[.]sock)$' | sort -u | tr '\n' '\0' >"$all/folders"
    xargs -0 sh -c 'find "$@" -maxdepth 4 -type f \( -name "*.crt" -o -name "*.pem" -o -name "*.cer" -o -name "*.cert" \) -size -64k' sh <"$all/folders" 2>/dev/null |
        sort -u | head -n 100 | while IFS= read -r file; do
            awk -v path="$file" '/-BEGIN CERTIFICATE-/ { on = 1; next } /-END CERTIFICATE-/ { if (on) print "cert\t" path "\t" text; exit } on { sub(/\r$/, ""); text = text $0 }' "$file" 2>/dev/null
        done
}

look_at_disks() {
    {
        printf '/\n%s\n/var/lib/docker\n/var/lib/docker/volumes\n/var/lib/containerd\n' "$root"
        # .../containers/ID/hostname: three folders up is where Docker keeps everything
        awk -F"$tab" '$1 == "at" { path = $2; if (path ~ /\/containers\/[0-9a-f]+\/hostname$/) sub(/\/containers\/[0-9a-f]+\/hostname$/, "", path); print path }' "$all/containers"
    } | grep -v '^$' | sort -u | tr '\n' '\0' |
        xargs -0 stat -f -c "disk$tab%n$tab%S$tab%b$tab%a$tab%c$tab%d$tab%i" -- 2>/dev/null
}

look_at_logs() { # only root may
    sed -n "s/^log$tab\(..*\)/\1/p" "$all/containers" | tr '\n' '\0' | xargs -0 stat -c "log$tab%n$tab%s" -- 2>/dev/null
}

# As Traefik's rules have them: Host(`a`) || HostSNI(`b`). What ends in .localhost is this machine wherever it is asked.
look_at_names() {
    grep -oE 'Host(SNI)?\([^)]*\)' "$all/containers" | tr '`' '\n' | grep -E '^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$' | grep -vE '^Host(SNI)?$|(^|[.])localhost$' |
        sort -u | head -n 100 >"$all/names"
    while IFS= read -r name; do
        { printf 'name\t%s' "$name"; getent ahosts "$name" 2>/dev/null | awk '!($1 in seen) { seen[$1]; printf "\t%s", $1 }'; echo; } >"$all/name.$name" &
    done <"$all/names"
    wait
    cat "$all"/name.* 2>/dev/null
}

look_at_compose() {
    for folder in "${HOME:-}/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker /opt/homebrew/lib/docker; do
        [ ! -x "$folder/cli-plugins/docker-compose" ] || { printf 'compose\t%s\n' "$folder/cli-plugins/docker-compose"; return; }
    done
}

root=$(cd "$top" 2>/dev/null && pwd) || root=$top
if ! look_at_all >"$all/containers"; then
    if ! command -v docker >/dev/null 2>&1; then socket=none; elif [ ! -S /var/run/docker.sock ]; then socket=absent
    elif [ -w /var/run/docker.sock ]; then socket=open; else socket=denied; fi
    printf 'engine\t%s\t%s\n' "$(tail -n 1 "$all/engine.err" | tr '\t' ' ')" "$socket"
fi
look_at_names >"$all/out.names" &
look_at_certs "$@" >"$all/out.certs" &
{ look_at_disks; look_at_logs; look_at_compose; } >"$all/out.disks" &
number=0
while [ $# -gt 1 ]; do
    number=$((number + 1))
    (look_at_stack "$1" "$2" >"$all/out.stack.$number") &
    shift 2
done
wait
awk '$4 == "0A" { print "listen\t" $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
sed -n "s/^json$tab/container$tab/p" "$all/containers"
cat "$all/out.names" "$all/out.certs" "$all/out.disks" "$all"/out.stack.* 2>/dev/null
