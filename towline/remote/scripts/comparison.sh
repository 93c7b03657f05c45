#!/bin/sh
# comparison.sh: compares a stack's live folder and its containers with its current release. Functions only: drift.sh
# and survey.sh are sent with containers.sh, live_files.sh and this in front.
#
# Reads the variables home (the stack's state folder), live (its live folder), release (the folder of its current
# release), project, and scratch (a folder for intermediate files). Prints rows of drift.sh: edited, missing, once and
# stale.
#
# The files in $scratch, their columns separated by tabs:
#   stacks      NUMBER STACK PROJECT HOME LIVE REAL RELEASE: home and live as above, REAL is LIVE without symlinks;
#               RELEASE is the current release's id, `-` for none
#   containers  what `docker inspect` prints for the format container_rows
#   borrowing   NUMBER SERVICE: it uses another container's namespace or volumes. Compose puts that container's id into
#               the configuration before it makes the hash: what it would give the container now is never what it has
#   completed   NUMBER ID SERVICE: exited with 0, is not started again, and serves nobody
#   mounts      NUMBER ID PID STARTED CONTAINER TARGET FILE PATH SERVICE: a bind mount of a running container from the
#               live folder. FILE is its source, made from REAL; PATH is that in the live folder, `.` for the folder
#               itself
#   differing   the rows of mounts that differing_mounts keeps; there may be a column more behind SERVICE
# shellcheck disable=SC2016,SC2034,SC2154,SC2317  # awk programs are in single quotes; drift.sh and survey.sh use these

# A row `container ID NAME SERVICE STATUS CODE POLICY SERVING NAMESPACES STARTED PID PROJECT ONEOFF` and for each bind
# mount a row `mount SOURCE TARGET`. SERVING: yes with a health check or published ports. NAMESPACES has `container:` in
# it for one that uses another container's network, PID or IPC namespace, or its volumes.
serving='{{if or .HostConfig.PortBindings .State.Health}}yes{{else}}-{{end}}'
volumes_from='{{if .HostConfig.VolumesFrom}}container:{{end}}'
namespaces="{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}} $volumes_from"
container_rows="container$tab{{.ID}}$tab{{.Name}}$tab$service_of$tab{{.State.Status}}$tab{{.State.ExitCode}}\
$tab$restart_policy_of$tab$serving$tab$namespaces$tab{{.State.StartedAt}}$tab{{.State.Pid}}\
$tab$project_of$tab$oneoff_of\
{{range .Mounts}}{{if eq .Type \"bind\"}}{{println}}mount$tab{{.Source}}$tab{{.Destination}}{{end}}{{end}}"

# --- the files --------------------------------------------------------------------------------------------------------

compare_files() {
    recorded=$home/live.stat
    # after an apply that was interrupted, live.stat may belong to another release
    [ -f "$recorded" ] && cmp -s "$release/manifest" "$home/live.manifest" || recorded=/dev/null
    cut -f5 "$release/manifest" >"$scratch/paths"
    read_live_files "$recorded" "$release/manifest"
    [ -s "$scratch/changes" ] || return 0
    data=$release/data
    [ -f "$data" ] || data=/dev/null
    awk -F"$tab" '
        FILENAME == ARGV[1] { type[$5] = $1; wanted[$5] = $1 == "l" ? "link:" $6 : $4; next }
        FILENAME == ARGV[2] { content[$2] = $1; next }
        FILENAME == ARGV[3] { data[$0]; next }
        FILENAME == ARGV[4] { if ($1 == "missing" && !($2 in data)) print; next }
        { is = $1 ~ /^8/ ? "f" : $1 ~ /^a/ ? "l" : $1 ~ /^4/ ? "d" : "?" }
        is != type[$5] || (($5 in content) && content[$5] != wanted[$5]) {
            print (($5 in data) ? "data" : "edited") "\t" $5
        }
    ' "$release/manifest" "$scratch/contents" "$data" "$scratch/changes" "$scratch/states" | LC_ALL=C sort
}

# --- the containers ---------------------------------------------------------------------------------------------------

awk_functions='
    function is_below(path, folder) { return path == folder || substr(path, 1, length(folder) + 1) == folder "/" }
    function unescaped(text) {      # as mountinfo escapes
        if (!index(text, "\\")) return text
        gsub(/\\040/, " ", text); gsub(/\\011/, "\t", text); gsub(/\\012/, "\n", text); gsub(/\\134/, "\\", text)
        return text
    }
'

# An awk program that reads stacks and containers.
container_program=$awk_functions'
    FILENAME == ARGV[1] { number[$3] = $1; live[$1] = $5; real[$1] = $6 }
    $1 == "container" {
        stack = $13 != "True" && ($12 in number) ? number[$12] : ""
        id = $2; container = substr($3, 2); service = $4 == "" ? "-" : $4
        pid = $5 == "running" ? $11 : ""; started = $10
    }
    $1 == "container" && stack != "" {
        if ($9 ~ /container:/) print stack, service >(folder "/borrowing")
        if ($5 == "exited" && $6 == 0 && ($7 == "no" || $7 == "on-failure") && $8 == "-")
            print stack, id, service >(folder "/completed")
    }
    $1 == "mount" && stack != "" && pid != "" {
        top = is_below($2, live[stack]) ? live[stack] : is_below($2, real[stack]) ? real[stack] : ""
        path = substr($2, length(top) + 2)
        if (top != "")
            print stack, id, pid, started, container, $3, (real[stack] (path == "" ? "" : "/" path)),
                (path == "" ? "." : path), service >(folder "/mounts")
    }
'

# Reads the files stacks and containers in FOLDER, and writes borrowing, completed and mounts there. RULES: more awk
# rules for the same files.
read_containers() { # FOLDER [RULES]
    : >"$1/borrowing"
    : >"$1/completed"
    : >"$1/mounts"
    LC_ALL=C awk -F"$tab" -v OFS="$tab" -v folder="$1" "$container_program ${2:-}" "$1/stacks" "$1/containers"
}

# Prints `once SERVICE` for the services of $scratch/completed, but for those whose container was told to stop, as long
# as Docker remembers.
find_completed() {
    [ -s "$scratch/completed" ] || return 0
    # `date +%s` would leave out what happened in this second
    now=$(docker info --format '{{.SystemTime}}' 2>/dev/null)
    ask docker events --since 1 --until "$now" --filter "label=$project_label=$project" --filter event=start \
        --filter event=stop --format "{{.Action}}$tab{{.Actor.ID}}" >"$scratch/events" 2>/dev/null </dev/null
    awk -F"$tab" '
        FILENAME == ARGV[1] { last[$2] = $1; next }
        last[$2] != "stop" { print "once\t" $3 }
    ' "$scratch/events" "$scratch/completed" | sort -u
}

# --- the mounts -------------------------------------------------------------------------------------------------------

# /proc/PID/mountinfo tells for each mount which file or folder of its file system it is (field 4), and where it is
# mounted (field 5). One that was replaced is `PATH//deleted`, one that was moved has its new path. Of a file on the
# host the same is known from the mount of the host that it lies on. An awk program that prints the rows of mounts for
# which the two differ, and behind each, in a column more, what the container has mounted. After the rows it reads,
# separated by blanks, the host's own mountinfo and then that of containers, each behind an assignment `container=ID`.
mountinfo_program=$awk_functions'
    FILENAME == ARGV[1] { row[++rows] = $0; id[rows] = $2; target[rows] = $6; file[rows] = $7; next }
    { root = unescaped($4); point = unescaped($5) }
    container == "" {
        if (point == "/") point = ""
        for (n = 1; n <= rows; n++)
            if (length(point) >= longest[n] && is_below(file[n], point)) {
                longest[n] = length(point)
                expected[n] = (root == "/" ? "" : root) substr(file[n], length(point) + 1)
            }
        next
    }
    { mounted[container, point] = root }
    # with an engine elsewhere, that PID is some other process here: without the id in its mountinfo
    FILENAME !~ /^\/proc\// || index($4, "/" container "/") { known[container] }
    END {
        for (n = 1; n <= rows; n++)
            if (!(id[n] in known) || mounted[id[n], target[n]] != expected[n])
                print row[n] "\t" mounted[id[n], target[n]]
    }
'

compare_mounts() { # MOUNTS [container=ID MOUNTINFO]…
    rows=$1
    shift
    LC_ALL=C awk -F"$tab" "$mountinfo_program" "$rows" FS=' ' container= /proc/self/mountinfo "$@"
}

# Writes those rows of MOUNTS into DIFFERING that root does not see to be right from the outside, most often none. A
# login that may not read the mountinfo of the containers' processes gets all of them.
differing_mounts() { # MOUNTS DIFFERING
    rows=$1 result=$2 pids=' '
    : >"$result"
    set --
    while IFS=$tab read -r _ id pid _; do
        case $pids in *" $pid "*) continue ;; esac
        pids="$pids$pid "
        [ ! -r "/proc/$pid/mountinfo" ] || set -- "$@" "container=$id" "/proc/$pid/mountinfo"
    done <"$rows"
    [ ! -s "$rows" ] || compare_mounts "$rows" "$@" >"$result" 2>/dev/null || cp "$rows" "$result"
}

# Writes $scratch/mountinfo.ID for each container of $scratch/differing: as root from the outside, else from the inside.
# An image without `cat` tells nothing.
read_mountinfo() {
    [ -s "$scratch/differing" ] || return 0
    cut -f2,3 "$scratch/differing" | sort -u | {
        while IFS=$tab read -r id pid; do
            if grep -qs "/$id/" "/proc/$pid/mountinfo"; then
                cat "/proc/$pid/mountinfo" >"$scratch/mountinfo.$id" 2>/dev/null
            else
                ask docker exec "$id" cat /proc/self/mountinfo >"$scratch/mountinfo.$id" 2>/dev/null </dev/null &
            fi
        done
        wait
    }
}

# Prints `stale SERVICE CONTAINER PATH` for those of $scratch/differing through which the container sees something else
# than what is there now. read_mountinfo comes first.
find_stale_mounts() {
    while IFS=$tab read -r number id pid started container target file path service; do
        if is_stale </dev/null; then printf 'stale\t%s\t%s\t%s\n' "${service%%"$tab"*}" "$container" "$path"; fi
    done <"$scratch/differing"
}

is_stale() { # of the row in the variables that find_stale_mounts reads
    [ -e "$file" ] || return 0
    if [ ! -s "$scratch/mountinfo.$id" ]; then
        [ ! -d "$file" ] && changed_after "$file" "$started"
        return
    fi
    # Docker follows symlinks when it mounts
    printf '%s\t' "$number" "$id" "$pid" "$started" "$container" "$target" "$(readlink -f "$file")" >"$scratch/mount"
    difference=$(compare_mounts "$scratch/mount" "container=$id" "$scratch/mountinfo.$id")
    [ -n "$difference" ] || return 1
    # It is another file or folder. Its content decides; where that cannot be read, what the kernel says.
    case $difference in *//deleted) unreadable=0 ;; *) unreadable=1 ;; esac
    if [ -d "$file" ]; then
        ask docker exec "$id" ls -A "$target" >"$scratch/inside.unsorted" 2>/dev/null || return "$unreadable"
        LC_ALL=C sort "$scratch/inside.unsorted" >"$scratch/inside"
        # shellcheck disable=SC2012  # the same `ls` as inside
        ! ls -A "$file" 2>/dev/null | LC_ALL=C sort | cmp -s - "$scratch/inside"
    else
        [ -r "$file" ] && ask docker exec "$id" cat "$target" >"$scratch/inside" 2>/dev/null || return "$unreadable"
        ! cmp -s "$file" "$scratch/inside"
    fi
}

changed_after() { # FILE TIME, as Docker writes it: 2026-11-23T19:13:19.035048395Z. Compares whole seconds
    changed=$(TZ=UTC stat -c %z "$1" | cut -c1-19) time=$(printf '%s\n' "$2" | cut -c1-19 | tr T ' ')
    awk -v a="$changed" -v b="$time" 'BEGIN { exit !(a "" > b "") }'
}
