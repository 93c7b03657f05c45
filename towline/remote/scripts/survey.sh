#!/bin/sh
# survey.sh ROOT [STACK PROJECT]…: the state of the host and of the stacks. Changes nothing. Sent with containers.sh,
# live_files.sh and comparison.sh in front. Prints rows, their columns separated by tabs:
#   engine WHY SOCKET              Docker does not answer; then there are no rows about containers. SOCKET: none (no
#                                  docker at all), absent, denied (to this login) or open
#   container JSON                 each of the engine's containers, as `docker inspect` has it
#   compose PATH                   the Compose plugin
#   disk PATH BLOCK SIZE FREE INODES FREE FILESYSTEM   for each path that stacks or Docker write to. BLOCK: bytes of a
#                                  block, the unit of SIZE and FREE
#   listen ADDRESS                 a listening TCP socket, as /proc/net/tcp has it
#   log PATH BYTES                 a container's log
#   name NAME ADDRESS…             a name of a Traefik rule and what the host resolves it to; without addresses: nothing
#   cert PATH BASE64               the first certificate of a file in a live folder or mounted into a container
#   stack STACK                    the rows behind it are about this stack: live, current, meta, folder, model, env,
#                                  borrows, and those of drift.sh
#   live PATH                      its live folder
#   current ID                     its current release
#   meta JSON                      meta.json of that
#   folder PATH, model JSON        the Compose model of that, and the folder it was made in
#   borrows SERVICE                the service uses another container's namespace: its config hash tells nothing
#   env NAME set|empty             a variable in the live .env; never its value
#
# It takes longer to start a program than to run it, so each awk below reads the files of all stacks at once. What is
# not as the deploy left it is then compared closely, stack by stack.
# shellcheck disable=SC2034,SC2154  # comparison.sh reads and sets these
set -u
umask 077
top=$1
shift
all=$(mktemp -d) || exit 1
trap 'rm -rf "$all"' EXIT
trap 'exit 129' HUP INT PIPE TERM

# Without the environment: it holds secrets.
container_json='{"id":{{json .ID}},"name":{{json .Name}},"state":{{json .State}},"image_id":{{json .Image}}'\
',"restarts":{{json .RestartCount}},"command":{{json .Args}}'\
',"host":{"ports":{{json .HostConfig.PortBindings}},"network":{{json .HostConfig.NetworkMode}}'\
',"restart":{{json .HostConfig.RestartPolicy}},"log":{{json .HostConfig.LogConfig}}}'\
',"log_path":{{json .LogPath}},"mounts":{{json .Mounts}},"image":{{json .Config.Image}}'\
',"labels":{{json .Config.Labels}},"ports":{{json .NetworkSettings.Ports}}'\
',"networks":{{json .NetworkSettings.Networks}}}'
container_paths="{{range .Mounts}}{{println}}path$tab{{.Source}}{{end}}\
{{println}}path$tab{{.HostnamePath}}{{println}}log$tab{{.LogPath}}"

inspect_all() {
    ids=$(docker ps --all --quiet --no-trunc 2>"$all/engine.err") || return 1
    # shellcheck disable=SC2086
    inspect_containers "json$tab$container_json{{println}}$container_rows$container_paths" $ids
}

# --- the stacks' files ------------------------------------------------------------------------------------------------

list_stacks() { # [STACK PROJECT]…: into `stacks`, whose columns are in comparison.sh
    number=0
    while [ $# -gt 1 ]; do
        number=$((number + 1))
        current=$(current_release "$root/.towline/$1")
        real=$(cd "$root/$1" 2>/dev/null && pwd -P) || real=$root/$1
        printf '%s\t' "$number" "$1" "$2" "$root/.towline/$1" "$root/$1" "$real"
        printf '%s\n' "${current:--}"
        shift 2
    done >"$all/stacks"
}

# Writes what the files tell into out.NUMBER, the paths of the release in the live folder into `paths`, and into
# `changed` the numbers of the stacks of which live.stat was not recorded for the current release.
read_files() {
    set --
    while IFS=$tab read -r number _ _ home live _ current; do
        : >"$all/out.$number"
        release=$home/releases/$current
        for file in "$release/manifest" "$home/live.manifest" "$home/live.stat" "$release/images" "$release/model" \
            "$release/meta.json" "$live/.env"; do
            [ ! -f "$file" ] || set -- "$@" "$file"
        done
        [ ! -d "$live" ] || printf 'live\t%s\n' "$live" >"$all/out.$number"
    done <"$all/stacks"
    # shellcheck disable=SC2016
    LC_ALL=C awk -F"$tab" -v all="$all" '
        function trimmed(text) { gsub(/^[ \t]+|[ \t\r]+$/, "", text); return text }
        FILENAME == ARGV[1] {
            out[$1] = all "/out." $1; live[$1] = $5; home = $4; release = home "/releases/" $7
            if ($7 != "-") print "current\t" $7 >>out[$1]
            part[release "/manifest"] = "manifest"; part[release "/images"] = "images"; part[release "/model"] = "model"
            part[release "/meta.json"] = "meta"; part[home "/live.manifest"] = "applied"
            part[home "/live.stat"] = "states"; part[$5 "/.env"] = "env"
            for (file in part) if (!(file in number)) number[file] = $1
            next
        }
        { what = part[FILENAME]; n = number[FILENAME] }
        what == "manifest" { row[n, FNR] = $0; rows[n] = FNR; printf "%s/%s%c", live[n], $5, 0 >(all "/paths") }
        what == "applied" { if (row[n, FNR] != $0) differs[n]; applied[n] = FNR }
        what == "states" { states[n] = FNR }
        what == "images" {
            if ($3 ~ /^sha256:/) print "kept\t" $1 "\t" $3 >>out[n]
            if ($4 != "") print "hash\t" $1 "\t" $4 >>out[n]
        }
        what == "model" && FNR == 1 { printf "folder\t%s\nmodel\t", $0 >>out[n]; models[n]; next }
        what == "model" { gsub(/\t/, ""); printf "%s", $0 >>out[n] }
        what == "meta" {
            if (n in models) { print "" >>out[n]; delete models[n] }
            gsub(/\t/, ""); print "meta\t" $0 >>out[n]
        }
        # Names alone. A quoted value may go on for lines: what looks like a name in there is none.
        what == "env" && FNR == 1 { open = "" }
        what == "env" && open != "" { if (index($0, open)) open = ""; next }
        what == "env" && match($0, /^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=/) {
            name = substr($0, 1, RLENGTH - 1); value = trimmed(substr($0, RLENGTH + 1))
            sub(/^[ \t]*(export[ \t]+)?/, "", name)
            print "env\t" trimmed(name) "\t" (value ~ /^(""|\047\047)?[ \t]*(#.*)?$/ ? "empty" : "set") >>out[n]
            mark = substr(value, 1, 1)
            if ((mark == "\"" || mark == "\047") && !index(substr(value, 2), mark)) open = mark
        }
        END {
            for (n in models) print "" >>out[n]
            for (n in rows) if ((n in differs) || rows[n] != applied[n] || rows[n] != states[n]) print n
        }
    ' "$all/stacks" "$@" >"$all/changed"
}

# Adds to `changed` the numbers of the stacks that have a live file whose state is not as live.stat has it.
compare_states() {
    [ -s "$all/paths" ] || return 0
    xargs -0 stat -c "$file_state" -- <"$all/paths" >"$all/states" 2>/dev/null
    set --
    while IFS=$tab read -r _ _ _ home _; do
        [ ! -f "$home/live.stat" ] || set -- "$@" "$home/live.stat"
    done <"$all/stacks"
    [ $# -gt 0 ] || return 0
    LC_ALL=C awk -F"$tab" '
        FILENAME == ARGV[1] { live[$4 "/live.stat"] = $5; number[$4 "/live.stat"] = $1; next }
        FILENAME in number {
            recorded[$1 FS $2 FS $3 FS $4 FS live[FILENAME] "/" $5] = number[FILENAME]
            left[number[FILENAME]]++
            next
        }
        $0 in recorded { left[recorded[$0]]-- }
        END { for (n in left) if (left[n]) print n }
    ' "$all/stacks" "$@" "$all/states" >>"$all/changed"
}

# --- the containers ---------------------------------------------------------------------------------------------------

# Rules behind those of container_program in comparison.sh. They print the rows `container JSON`, and list what is
# looked up next: in disks, folders and logs paths, each ended by NUL, in names the names in routers' rules.
# shellcheck disable=SC2016
survey_rules='
    function list(name, path) {
        if (path == "" || (name, path) in listed) return
        listed[name, path]
        printf "%s%c", path, 0 >(folder "/" name)
    }
    function list_folder(path) {    # of certificates: not those of the system
        if (path ~ /^\/((etc|usr|var|run|var\/run|proc|sys|dev|home|root|var\/lib\/docker)?)$/) return
        if (path ~ /^\/(etc\/ssl\/certs|usr)(\/.*)?$/ || path ~ /[.]sock$/) return
        list("folders", path)
    }
    function list_names(text,   count, n, name) {
        while (match(text, /Host(SNI)?\([^)]*\)/)) {
            count = split(substr(text, RSTART, RLENGTH), name, /[^A-Za-z0-9.-]+/)
            text = substr(text, RSTART + RLENGTH)
            for (n = 2; n <= count; n++) if (is_name(name[n]) && !(name[n] in named) && ++names <= 100) {
                named[name[n]]
                print name[n] >(folder "/names")
            }
        }
    }
    # what ends in .localhost is the machine itself wherever it is looked up
    function is_name(text) { return text ~ /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/ && text !~ /(^|[.])localhost$/ }
    BEGIN {
        list("disks", "/"); list("disks", ENVIRON["root"]); list("disks", "/var/lib/docker")
        list("disks", "/var/lib/docker/volumes"); list("disks", "/var/lib/containerd")
    }
    FILENAME == ARGV[1] { list_folder($5); next }
    $1 == "json" { print "container", substr($0, 6); list_names($0) }
    $1 == "mount" { list_folder($2) }
    $1 == "log" { list("logs", $2) }
    # .../containers/ID/hostname: three folders up is where Docker keeps everything
    $1 == "path" { sub(/\/containers\/[0-9a-f]+\/hostname$/, "", $2); list("disks", $2) }
'

# --- one stack, closely -----------------------------------------------------------------------------------------------

compare_closely() { # files|containers NUMBER…: each of these stacks in a process of its own, into close.WHAT.NUMBER
    what=$1
    shift
    while IFS=$tab read -r number _ project home live _ current; do
        case " $* " in *" $number "*) ;; *) continue ;; esac
        [ "$current" != - ] || continue     # no release, so nothing to compare with
        release=$home/releases/$current scratch=$all/$what.$number
        {
            mkdir "$scratch"
            case $what in files) compare_files ;; containers) compare_containers ;; esac
        } >"$all/close.$what.$number" &
    done <"$all/stacks"
    wait
}

compare_containers() {
    for name in completed differing; do grep "^$number$tab" "$all/$name" >"$scratch/$name"; done
    read_mountinfo
    find_completed
    find_stale_mounts
}

# --- the host ---------------------------------------------------------------------------------------------------------

# The first certificate of each file below a live folder or mounted into a container: no key ever leaves the host.
find_certificates() {
    [ -s "$all/folders" ] || return 0
    # shellcheck disable=SC2016
    xargs -0 sh -c '
        find "$@" -maxdepth 4 -type f -size -64k \( -name "*.crt" -o -name "*.pem" -o -name "*.cer" -o -name "*.cert" \)
    ' sh <"$all/folders" >"$all/certs" 2>/dev/null
    [ -s "$all/certs" ] || return 0
    sort -u "$all/certs" | head -n 100 | while IFS= read -r file; do
        awk -v path="$file" '
            /-BEGIN CERTIFICATE-/ { inside = 1; next }
            /-END CERTIFICATE-/ { if (inside) print "cert\t" path "\t" text; exit }
            inside { sub(/\r$/, ""); text = text $0 }
        ' "$file" 2>/dev/null
    done
}

resolve_names() {
    [ -s "$all/names" ] || return 0
    limit=''
    ! timeout 1 true 2>/dev/null || limit='timeout 3'       # a resolver that is gone is waited for much longer
    while IFS= read -r name; do
        {
            printf 'name\t%s' "$name"
            $limit getent ahosts "$name" 2>/dev/null | awk '!($1 in seen) { seen[$1]; printf "\t%s", $1 }'
            echo
        } >"$all/name.$name" &
    done <"$all/names"
    wait
    cat "$all"/name.*
}

find_compose() {
    for folder in "${HOME:-}/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker \
        /usr/libexec/docker /opt/homebrew/lib/docker; do
        plugin=$folder/cli-plugins/docker-compose
        if [ -x "$plugin" ]; then printf 'compose\t%s\n' "$plugin"; return; fi
    done
}

docker_socket() {
    if [ -z "$docker_program" ]; then echo none
    elif [ ! -S "$engine_socket" ]; then echo absent
    elif [ -w "$engine_socket" ]; then echo open
    else echo denied; fi
}

root=$(cd "$top" 2>/dev/null && pwd) || root=$top
export root     # for awk, which would read backslashes in a value that it is given by -v
list_stacks "$@"
{ read_files; compare_states; } &
inspect_all >"$all/containers" ||
    printf 'engine\t%s\t%s\n' "$(grep . "$all/engine.err" | tail -n 1 | tr '\t' ' ')" "$(docker_socket)"
read_containers "$all" "$survey_rules" >"$all/out.containers"
resolve_names >"$all/out.names" &
find_certificates >"$all/out.certs" &
differing_mounts "$all/mounts" "$all/differing"
wait
files='' containers=''
while read -r number; do files="$files $number"; done <"$all/changed"
while IFS=$tab read -r number service; do printf 'borrows\t%s\n' "$service" >>"$all/out.$number"; done <"$all/borrowing"
for list in completed differing; do
    while read -r number _; do containers="$containers $number"; done <"$all/$list"
done
# shellcheck disable=SC2086
{
    [ -z "$files" ] || compare_closely files $files
    [ -z "$containers" ] || compare_closely containers $containers
}
find_compose
xargs -0 stat -f -c "disk$tab%n$tab%S$tab%b$tab%a$tab%c$tab%d$tab%i" -- <"$all/disks" 2>/dev/null
[ ! -s "$all/logs" ] || xargs -0 stat -c "log$tab%n$tab%s" -- <"$all/logs" 2>/dev/null     # only root may
awk '$4 == "0A" { print "listen\t" $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
cat "$all/out.containers" "$all/out.names" "$all/out.certs"
while IFS=$tab read -r number name _; do
    printf 'stack\t%s\n' "$name"
    # `|| :`, since most stacks were not compared closely
    cat "$all/out.$number" "$all/close.files.$number" "$all/close.containers.$number" 2>/dev/null || :
done <"$all/stacks"
