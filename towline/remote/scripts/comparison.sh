#!/bin/sh
# comparison.sh: what a stack's live folder and its containers are now, beside what its current release left there. Functions only.
# Whoever sends it sets: home, live, release, real (live without symlinks), project, scratch (a folder of its own).
# shellcheck disable=SC2034,SC2154,SC2317  # drift.sh and survey.sh, which are sent behind it, set and call these
tab=$(printf '\t')

# As `docker inspect --format`: `container` id name service status code policy asked borrows started pid, then `mount` source
# destination lines, as look_at_once and look_at_mounts read them in $scratch/containers. asked: whether it has a health check or
# publishes a port; borrows: it lives in another container's namespace or volumes.
row="container$tab{{.ID}}$tab{{.Name}}$tab{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.State.Status}}$tab{{.State.ExitCode}}$tab{{or .HostConfig.RestartPolicy.Name \"no\"}}$tab{{if or .HostConfig.PortBindings .State.Health}}asked{{else}}-{{end}}$tab{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}} {{if .HostConfig.VolumesFrom}}container:{{end}}$tab{{.State.StartedAt}}$tab{{.State.Pid}}{{range .Mounts}}{{if eq .Type \"bind\"}}{{println}}mount$tab{{.Source}}$tab{{.Destination}}{{end}}{{end}}"

# --- the files ----------------------------------------------------------------------------------------------------

# As look_at_live in live.sh: what is as it was noted after the last apply has the release's content, only the rest is read.
look_at_files() {
    noted=$home/live.stat
    [ -f "$noted" ] && cmp -s "$release/manifest" "$home/live.manifest" || noted=/dev/null   # a run was cut: noted is another release
    : >"$scratch/look"
    [ ! -d "$live" ] ||
        (cd "$live" && cut -f5 "$release/manifest" | tr '\n' '\0' | xargs -0 stat -c "%f$tab%s$tab%Z$tab%i$tab%n" -- 2>/dev/null) >"$scratch/look"
    awk -F"$tab" '
        FILENAME == ARGV[1] { noted[$0]; next }
        FILENAME == ARGV[2] { kind[$5] = $1; size[$5] = $3; next }
        { here[$5] }
        $0 in noted { next }
        { is = $1 ~ /^8/ ? "f" : $1 ~ /^a/ ? "l" : $1 ~ /^4/ ? "d" : "?" }
        is != kind[$5] || (is == "f" && $2 != size[$5]) { print "edited\t" $5; next }
        is == "f" { print "read\t" $5 }
        is == "l" { print "link\t" $5 }
        END { for (path in kind) if (!(path in here)) print "missing\t" path }
    ' "$noted" "$release/manifest" "$scratch/look" >"$scratch/found"
    [ -s "$scratch/found" ] || return 0
    sed -n "s/^read$tab//p" "$scratch/found" | tr '\n' '\0' >"$scratch/read"
    : >"$scratch/content"
    # GNU marks a name in which it escaped a backslash by one in front of the line
    [ ! -s "$scratch/read" ] || (cd "$live" && xargs -0 sha256sum -- <"$scratch/read" 2>/dev/null) |
        awk '{ if (sub(/^\\/, "")) gsub(/\\\\/, "\\"); print substr($0, 1, 64) "\t" substr($0, 67) }' >"$scratch/content"
    sed -n "s/^link$tab//p" "$scratch/found" | while IFS= read -r path; do
        printf '%s\t%s\n' "$(readlink "$live/$path")" "$path"
    done >>"$scratch/content"
    {
        grep -E "^(edited|missing)$tab" "$scratch/found"
        awk -F"$tab" '
            FILENAME == ARGV[1] { content[$5] = $1 == "l" ? $6 : $4; next }
            content[$2] != $1 { print "edited\t" $2 }
        ' "$release/manifest" "$scratch/content"
    } | LC_ALL=C sort
}

# --- the containers -----------------------------------------------------------------------------------------------

# Ended well, is not started again, and serves nobody. Who was told to stop is not one of them, as long as Docker remembers.
look_at_once() {
    awk -F"$tab" '$1 == "container" && $5 == "exited" && $6 == 0 && ($7 == "no" || $7 == "on-failure") && $8 == "-" { print $2 "\t" $4 }' \
        "$scratch/containers" >"$scratch/ended"
    [ -s "$scratch/ended" ] || return 0
    now=$(docker info --format '{{.SystemTime}}' 2>/dev/null)       # `date +%s` would leave out what happened within this second
    docker events --since 1 --until "$now" --filter "label=com.docker.compose.project=$project" --filter event=start \
        --filter event=stop --format "{{.Action}}$tab{{.Actor.ID}}" >"$scratch/events" 2>/dev/null </dev/null
    awk -F"$tab" '
        FILENAME == ARGV[1] { last[$2] = $1; next }
        last[$1] != "stop" { print "once\t" $2 }
    ' "$scratch/events" "$scratch/ended" | sort -u
}
# --- the mounts ---------------------------------------------------------------------------------------------------

# The kernel tells for each mount which file it is: one that was replaced is `PATH//deleted`, one that was moved has its new path.
# As root from outside, else from inside; an image without `cat` tells nothing.
look_at_mounts() {
    awk -F"$tab" -v OFS="$tab" '
        $1 == "container" { one = $5 == "running" ? $2 OFS substr($3, 2) OFS $4 OFS $10 OFS $11 : ""; next }
        one != "" { print one, $2, $3 }
    ' "$scratch/containers" | while IFS=$tab read -r id name service started pid source target; do
        case $source in "$live" | "$live"/*) path=${source#"$live"} ;; "$real" | "$real"/*) path=${source#"$real"} ;; *) continue ;; esac
        path=${path#/}
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$id" "$name" "$service" "$started" "$pid" "$source" "$target" "${path:-.}"
    done >"$scratch/mounts"
    [ -s "$scratch/mounts" ] || return 0
    unproven >"$scratch/unproven" 2>/dev/null && mv "$scratch/unproven" "$scratch/mounts"
    cut -f1,5 "$scratch/mounts" | sort -u | {
        while IFS=$tab read -r id pid; do
            # the id is in it: with an engine elsewhere, that number is some other process here
            if grep -qs "/$id/" "/proc/$pid/mountinfo"; then cat "/proc/$pid/mountinfo" >"$scratch/seen.$id" 2>/dev/null
            else docker exec "$id" cat /proc/self/mountinfo >"$scratch/seen.$id" 2>/dev/null </dev/null & fi
        done
        wait
    }
}

# Of $scratch/mounts those that root does not see at a glance to be what they should be; most often none. Fails for other logins.
unproven() {
    self=/proc/self/mountinfo
    files=$(cut -f5 "$scratch/mounts" | sort -u | sed 's|.*|/proc/&/mountinfo|')
    # shellcheck disable=SC2016,SC2086
    awk -F"$tab" -v real="$real" '
        function plain(text) { if (index(text, "\\")) { gsub(/\\040/, " ", text); gsub(/\\011/, "\t", text); gsub(/\\012/, "\n", text); gsub(/\\134/, "\\", text) } return text }
        FILENAME == ARGV[1] {
            line[++count] = $0; id[$5] = $1; pid[count] = $5; target[count] = $7
            wanted[count] = real ($8 == "." ? "" : "/" $8)
            next
        }
        { root = plain($4); at = plain($5) }
        FILENAME == "/proc/self/mountinfo" {
            if (at == "/") at = ""
            for (n = 1; n <= count; n++)
                if (length(at) >= best[n] && (wanted[n] == at || substr(wanted[n], 1, length(at) + 1) == at "/")) {
                    best[n] = length(at); should[n] = (root == "/" ? "" : root) substr(wanted[n], length(at) + 1)
                }
            next
        }
        { split(FILENAME, part, "/"); if (index($4, "/" id[part[3]] "/")) known[part[3]]; seen[part[3], at] = root }
        END { for (n = 1; n <= count; n++) if (!(pid[n] in known) || seen[pid[n], target[n]] != should[n]) print line[n] }
    ' "$scratch/mounts" FS=' ' $self $files
}

look_at_stale() {
    [ -s "$scratch/mounts" ] || return 0
    while IFS=$tab read -r id name service started _ source target path; do
        if is_stale "$id" "$started" "$source" "$target" </dev/null; then
            printf 'stale\t%s\t%s\t%s\n' "$service" "$name" "$path"
        fi
    done <"$scratch/mounts"
}

is_stale() { # ID STARTED SOURCE TARGET
    [ -e "$3" ] || return 0
    if [ ! -s "$scratch/seen.$1" ]; then
        [ ! -d "$3" ] && changed_after "$3" "$2"
        return
    fi
    seen=$(target=$4 mounts seen "$scratch/seen.$1")
    [ "$seen" != "$(target=$(readlink -f "$3") mounts wanted /proc/self/mountinfo)" ] || return 1
    # Another file than the one that is there. What is in it decides; where nobody can look, what the kernel says.
    case $seen in *//deleted) gone=0 ;; *) gone=1 ;; esac
    if [ -d "$3" ]; then
        docker exec "$1" ls -A "$4" >"$scratch/theirs.raw" 2>/dev/null || return "$gone"
        LC_ALL=C sort "$scratch/theirs.raw" >"$scratch/theirs"
        # shellcheck disable=SC2012  # the same ls as inside
        ls -A "$3" 2>/dev/null | LC_ALL=C sort | cmp -s - "$scratch/theirs" && return 1
    else
        [ -r "$3" ] && docker exec "$1" cat "$4" >"$scratch/theirs" 2>/dev/null || return "$gone"
        cmp -s "$3" "$scratch/theirs" && return 1
    fi
    return 0
}

mounts() { # seen|wanted FILE: what the mount at $target is within its file system; what it would be, made now
    awk -v what="$1" '
        function plain(text) { gsub(/\\040/, " ", text); gsub(/\\011/, "\t", text); gsub(/\\012/, "\n", text); gsub(/\\134/, "\\", text); return text }
        BEGIN { target = ENVIRON["target"] }
        { root = plain($4); at = plain($5) }
        what == "seen" { if (at == target) found = root; next }
        { if (at == "/") at = ""
          if (length(at) >= best && (target == at || substr(target, 1, length(at) + 1) == at "/")) {
              best = length(at); found = (root == "/" ? "" : root) substr(target, best + 1) } }
        END { print found }' "$2"
}

changed_after() { # FILE TIME, as Docker writes it: 2026-11-23T19:13:19.035048395Z
    changed=$(TZ=UTC stat -c %z "$1" | cut -c1-19) started=$(echo "$2" | cut -c1-19 | tr T ' ')
    awk -v a="$changed" -v b="$started" 'BEGIN { exit !(a "" > b "") }'
}
