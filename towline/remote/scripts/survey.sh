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
#   borrows SERVICE                it lives in another container's namespace: its hash says nothing
#   env NAME set|empty             what the live .env sets; never a value
# The functions are in comparison.sh, which is sent before it. It is slower to start a program than to run it, so each awk below looks at all
# stacks at once; what does not look as it was left is looked at closely, stack by stack.
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

# --- the stacks' files ------------------------------------------------------------------------------------------------

list_stacks() { # STACK PROJECT…: number, name, project, home, live folder, the same without symlinks, release; a line each
    number=0
    while [ $# -gt 1 ]; do
        number=$((number + 1)) current=''
        read -r current 2>/dev/null <"$root/.towline/$1/current"
        real=$(cd "$root/$1" 2>/dev/null && pwd -P) || real=$root/$1
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$number" "$1" "$2" "$root/.towline/$1" "$root/$1" "$real" "${current:--}"
        shift 2
    done >"$all/stacks"
}

# What stands there goes into out.NUMBER, the paths of the release into `paths`; `look` names the stacks to look at closely.
read_files() {
    set --
    while IFS=$tab read -r number _ _ home live _ current; do
        : >"$all/out.$number"
        for file in "$home/releases/$current/manifest" "$home/live.manifest" "$home/live.stat" "$home/releases/$current/images" \
            "$home/releases/$current/model" "$home/releases/$current/meta.json" "$live/.env"; do
            [ ! -f "$file" ] || set -- "$@" "$file"
        done
        [ ! -d "$live" ] || printf 'live\t%s\n' "$live" >"$all/out.$number"
    done <"$all/stacks"
    # shellcheck disable=SC2016
    LC_ALL=C awk -F"$tab" -v all="$all" '
        FILENAME == ARGV[1] {
            out[$1] = all "/out." $1; live[$1] = $5; home = $4; release = home "/releases/" $7
            if ($7 != "-") print "current\t" $7 >>out[$1]
            part[release "/manifest"] = "manifest"; part[home "/live.manifest"] = "applied"; part[home "/live.stat"] = "noted"
            part[release "/images"] = "images"; part[release "/model"] = "model"; part[release "/meta.json"] = "meta"; part[$5 "/.env"] = "env"
            for (file in part) if (!(file in of)) of[file] = $1
            next
        }
        { what = part[FILENAME]; n = of[FILENAME] }
        what == "manifest" { line[n, FNR] = $0; lines[n] = FNR; printf "%s/%s%c", live[n], $5, 0 >(all "/paths") }
        what == "applied" { if (line[n, FNR] != $0) other[n]; applied[n] = FNR }
        what == "noted" { stats[n] = FNR }
        what == "images" {
            if ($3 ~ /^sha256:/) print "kept\t" $1 "\t" $3 >>out[n]
            if ($4 != "") print "hash\t" $1 "\t" $4 >>out[n]
        }
        what == "model" { if (FNR == 1) printf "folder\t%s\nmodel\t", $0 >>out[n]; else { gsub(/\t/, ""); printf "%s", $0 >>out[n] }; models[n] }
        what == "meta" { if (n in models) { print "" >>out[n]; delete models[n] } gsub(/\t/, ""); print "meta\t" $0 >>out[n] }
        # Names alone. A quoted value may go on for lines: what looks like a name in there is none.
        what == "env" && FNR == 1 { open = "" }
        what == "env" && open != "" { if (index($0, open)) open = ""; next }
        what == "env" && match($0, /^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=/) {
            name = substr($0, 1, RLENGTH - 1); value = substr($0, RLENGTH + 1)
            sub(/^[ \t]*(export[ \t]+)?/, "", name); sub(/[ \t]+$/, "", name); gsub(/^[ \t]+|[ \t\r]+$/, "", value)
            print "env\t" name "\t" (value ~ /^(""|\047\047)?[ \t]*(#.*)?$/ ? "empty" : "set") >>out[n]
            mark = substr(value, 1, 1)
            if ((mark == "\"" || mark == "\047") && !index(substr(value, 2), mark)) open = mark
        }
        END {
            for (n in models) print "" >>out[n]
            for (n in lines) if ((n in other) || lines[n] != applied[n] || lines[n] != stats[n]) print n
        }
    ' "$all/stacks" "$@" >"$all/look"
}

compare_files() {
    [ -s "$all/paths" ] || return 0
    xargs -0 stat -c "%f$tab%s$tab%Z$tab%i$tab%n" -- <"$all/paths" >"$all/stat" 2>/dev/null
    set --
    while IFS=$tab read -r _ _ _ home _; do [ ! -f "$home/live.stat" ] || set -- "$@" "$home/live.stat"; done <"$all/stacks"
    [ $# -gt 0 ] || return 0
    LC_ALL=C awk -F"$tab" '
        FILENAME == ARGV[1] { live[$4 "/live.stat"] = $5; of[$4 "/live.stat"] = $1; next }
        FILENAME in of { wanted[$1 FS $2 FS $3 FS $4 FS live[FILENAME] "/" $5] = of[FILENAME]; count[of[FILENAME]]++; next }
        $0 in wanted { count[wanted[$0]]-- }
        END { for (n in count) if (count[n]) print n }
    ' "$all/stacks" "$@" "$all/stat" >>"$all/look"
}

# --- the containers ---------------------------------------------------------------------------------------------------

# From what docker told: the lists of paths that are asked about next, the names in routers' rules, the processes.
list_containers() {
    # shellcheck disable=SC2016
    LC_ALL=C awk -F"$tab" -v all="$all" -v root="$root" '
        function list(name, path) { if (path != "" && !((name, path) in had)) { had[name, path]; printf "%s%c", path, 0 >(all "/" name) } }
        function folder(path) { if (path !~ /^(\/|\/(etc|usr|var|run|var\/run|proc|sys|dev|home|root|var\/lib\/docker)|\/(etc\/ssl\/certs|usr)(\/.*)?|.*[.]sock)$/) list("folders", path) }
        BEGIN { list("disks", "/"); list("disks", root); list("disks", "/var/lib/docker"); list("disks", "/var/lib/docker/volumes"); list("disks", "/var/lib/containerd") }
        FILENAME == ARGV[1] { folder($5); next }
        $1 == "json" {
            print "container\t" substr($0, 6)
            rest = $0
            while (match(rest, /Host(SNI)?\([^)]*\)/)) {
                count = split(substr(rest, RSTART, RLENGTH), name, /[^A-Za-z0-9.-]+/); rest = substr(rest, RSTART + RLENGTH)
                for (n = 2; n <= count; n++)
                    if (name[n] ~ /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/ && name[n] !~ /(^|[.])localhost$/ && !(name[n] in named) && ++names <= 100) { named[name[n]]; print name[n] >(all "/names") }
            }
        }
        $1 == "container" && $5 == "running" { print $11 >(all "/pids") }
        $1 == "mount" { folder($2) }
        $1 == "log" { list("logs", $2) }
        # .../containers/ID/hostname: three folders up is where Docker keeps everything
        $1 == "at" { sub(/\/containers\/[0-9a-f]+\/hostname$/, "", $2); list("disks", $2) }
    ' "$all/stacks" "$all/containers" >"$all/out.containers"
}

# Names the stacks to look at closely: a mount that root does not see at a glance to be what it should be, or a container that has
# ended well; and tells the config hashes of the others. Compose puts an id in place of `network_mode: service:x` before it hashes:
# for those the two are never the same.
compare_containers() {
    set --
    [ ! -s "$all/pids" ] || while read -r pid; do [ ! -r "/proc/$pid/mountinfo" ] || set -- "$@" "/proc/$pid/mountinfo"; done <"$all/pids"
    # shellcheck disable=SC2016
    LC_ALL=C awk -F"$tab" '
        function plain(text) { if (index(text, "\\")) { gsub(/\\040/, " ", text); gsub(/\\011/, "\t", text); gsub(/\\012/, "\n", text); gsub(/\\134/, "\\", text) } return text }
        function below(path, top) { return path == top || substr(path, 1, length(top) + 1) == top "/" }
        FILENAME == ARGV[1] { number[$3] = $1; live[$1] = $5; real[$1] = $6; next }
        FILENAME == ARGV[2] && $1 == "of" { n = ($2 in number) && $3 != "True" ? number[$2] : 0; next }
        FILENAME == ARGV[2] && $1 == "container" && n {
            if ($9 ~ /container:/) print n "\tborrows\t" $4
            if ($5 == "exited" && $6 == 0 && ($7 == "no" || $7 == "on-failure") && $8 == "-") look[n]
            pid = $5 == "running" ? $11 : ""; id[pid] = $2; next
        }
        FILENAME == ARGV[2] && $1 == "mount" && n && pid != "" {
            top = below($2, live[n]) ? live[n] : below($2, real[n]) ? real[n] : ""
            if (top != "") { whose[++count] = n; of[count] = pid; target[count] = $3; wanted[count] = real[n] substr($2, length(top) + 1) }
            next
        }
        FILENAME == ARGV[2] { next }
        { above = plain($4); at = plain($5) }
        FILENAME == "/proc/self/mountinfo" {
            if (at == "/") at = ""
            for (m = 1; m <= count; m++)
                if (length(at) >= best[m] && below(wanted[m], at)) { best[m] = length(at); should[m] = (above == "/" ? "" : above) substr(wanted[m], length(at) + 1) }
            next
        }
        { split(FILENAME, part, "/"); if (index($4, "/" id[part[3]] "/")) known[part[3]]; seen[part[3], at] = above }
        END {
            for (m = 1; m <= count; m++) if (!(of[m] in known) || seen[of[m], target[m]] != should[m]) look[whose[m]]
            for (n in look) print n "\tclosely"
        }
    ' "$all/stacks" "$all/containers" FS=' ' /proc/self/mountinfo "$@" >"$all/closely" 2>/dev/null ||
        awk -F"$tab" '{ print $1 "\tclosely" }' "$all/stacks" >"$all/closely"      # a login that may not look into the processes
}

# --- one stack, closely ------------------------------------------------------------------------------------------------

of_project() { # PROJECT: its own rows, as look_at_once and look_at_mounts read them
    awk -F"$tab" -v project="$1" '
        $1 == "of" { ours = $2 == project && $3 != "True"; next }
        ours && ($1 == "container" || $1 == "mount")
    ' "$all/containers"
}

look_closely() { # FILES|CONTAINERS NUMBER STACK PROJECT HOME LIVE REAL RELEASE
    scratch=$all/$1.$2 project=$4 home=$5 live=$6 real=$7 release=$5/releases/$8
    mkdir "$scratch"
    if [ "$1" = files ]; then look_at_files; return; fi
    of_project "$project" >"$scratch/containers"
    look_at_mounts
    look_at_once
    look_at_stale
}

look_at_each() { # FILES|CONTAINERS NUMBERS
    while IFS=$tab read -r number rest; do
        case " $2 " in *" $number "*) ;; *) continue ;; esac
        case $rest in *"$tab-") continue ;; esac     # no release, so nothing to hold it against
        (
            IFS=$tab
            # shellcheck disable=SC2086
            set -f -- $number $rest
            set +f
            unset IFS
            look_closely "$what" "$@" >"$all/close.$what.$number"
        ) &
    done <"$all/stacks"
    wait
}

# --- the host ----------------------------------------------------------------------------------------------------------

# The first certificate of each file below a live folder or mounted into a container: no key ever leaves the host.
look_at_certs() {
    [ -s "$all/folders" ] || return 0
    # shellcheck disable=SC2016
    xargs -0 sh -c 'find "$@" -maxdepth 4 -type f \( -name "*.crt" -o -name "*.pem" -o -name "*.cer" -o -name "*.cert" \) -size -64k' sh <"$all/folders" >"$all/certs" 2>/dev/null
    [ -s "$all/certs" ] || return 0
    sort -u "$all/certs" | head -n 100 | while IFS= read -r file; do
        awk -v path="$file" '/-BEGIN CERTIFICATE-/ { on = 1; next } /-END CERTIFICATE-/ { if (on) print "cert\t" path "\t" text; exit } on { sub(/\r$/, ""); text = text $0 }' "$file" 2>/dev/null
    done
}

look_at_names() { # what ends in .localhost is not among them: it is this machine wherever it is asked
    [ -s "$all/names" ] || return 0
    patient=''
    ! timeout 1 true 2>/dev/null || patient='timeout 3'      # a resolver that is gone is waited for much longer
    while IFS= read -r name; do
        { printf 'name\t%s' "$name"; $patient getent ahosts "$name" 2>/dev/null | awk '!($1 in seen) { seen[$1]; printf "\t%s", $1 }'; echo; } >"$all/name.$name" &
    done <"$all/names"
    wait
    cat "$all"/name.*
}

look_at_compose() {
    for folder in "${HOME:-}/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker /usr/libexec/docker /opt/homebrew/lib/docker; do
        [ ! -x "$folder/cli-plugins/docker-compose" ] || { printf 'compose\t%s\n' "$folder/cli-plugins/docker-compose"; return; }
    done
}

root=$(cd "$top" 2>/dev/null && pwd) || root=$top
list_stacks "$@"
{ read_files; compare_files; } &
if ! look_at_all >"$all/containers"; then
    if ! command -v docker >/dev/null 2>&1; then socket=none; elif [ ! -S /var/run/docker.sock ]; then socket=absent
    elif [ -w /var/run/docker.sock ]; then socket=open; else socket=denied; fi
    printf 'engine\t%s\t%s\n' "$(grep . "$all/engine.err" | tail -n 1 | tr '\t' ' ')" "$socket"
fi
list_containers
look_at_names >"$all/out.names" &
look_at_certs >"$all/out.certs" &
compare_containers
wait
files='' containers=''
while read -r number; do files="$files $number"; done <"$all/look"
while IFS=$tab read -r number what _; do case $what in closely) containers="$containers $number" ;; esac; done <"$all/closely"
what=files; [ -z "$files" ] || look_at_each "$what" "$files"
what=containers; [ -z "$containers" ] || look_at_each "$what" "$containers"
look_at_compose
xargs -0 stat -f -c "disk$tab%n$tab%S$tab%b$tab%a$tab%c$tab%d$tab%i" -- <"$all/disks" 2>/dev/null
[ ! -s "$all/logs" ] || xargs -0 stat -c "log$tab%n$tab%s" -- <"$all/logs" 2>/dev/null     # only root may
awk '$4 == "0A" { print "listen\t" $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
cat "$all/out.containers" "$all/out.names" "$all/out.certs"
while IFS=$tab read -r number name _; do
    printf 'stack\t%s\n' "$name"
    cat "$all/out.$number" "$all/close.files.$number" "$all/close.containers.$number" 2>/dev/null
    sed -n "s/^$number${tab}borrows$tab/borrows$tab/p" "$all/closely"
done <"$all/stacks"
