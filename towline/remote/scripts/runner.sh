#!/bin/sh
# runner.sh: carries out one run, by itself, on the server. Nothing it does waits for the client.
#
# Beside it in the run's folder: `settings` (shell assignments), `steps` and `undo` (`name<TAB>seconds<TAB>command` a line;
# 0 seconds: no limit).
# It writes `events` (JSON lines), `output` (of the commands) and at last `result`: deployed, kept (the old release was never
# touched), restored (put back and healthy), down; or, before anything was done, locked (somebody else has the stack) or stale
# (somebody else deployed it since the plan was made). Stack lock: held by this process and what it started, so it cannot go stale.
# shellcheck disable=SC2317  # the steps call the functions by name, through eval
set -u
umask 022
run=$(pwd)
tab=$(printf '\t')
stack='' project='' release='' previous='' timeout=120 keep=5 lock_wait=0 by=''
# shellcheck source=/dev/null
. ./settings
cd ../../../.. || exit 1     # the root: this is ROOT/.towline/STACK/run/ID
home=$(pwd)/.towline/$stack live=$(pwd)/$stack
locked='' child='' cancelled='' overdue='' step=''
scratch=$run/scratch looks=$run/scratch/looks
export COMPOSE_ANSI=never COMPOSE_PROGRESS=plain BUILDKIT_PROGRESS=plain COMPOSE_MENU=false DOCKER_CLI_HINTS=false
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES

# --- events -------------------------------------------------------------------------------------------------------

uptime_now() { read -r up _ </proc/uptime; echo "$up"; }

text() { printf '"'; printf '%s' "$1" | tr '\t\n' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; printf '"'; }

event() { # NAME [KEY VALUE]…
    line="{\"t\":$(uptime_now),\"event\":\"$1\""
    shift
    while [ $# -gt 1 ]; do line="$line,\"$1\":$(text "$2")"; shift 2; done
    echo "$line}" >>"$run/events"
}

finish() { # OUTCOME
    rm -rf "$scratch"
    event end outcome "$1"
    echo "$1" >"$run/result.new" && mv "$run/result.new" "$run/result"
    [ -z "$locked" ] || rm -rf "$home/holder" "$home/lock.d"
    exit 0
}

refuse() { # OUTCOME: nothing has been done; a release that was sent for this run only goes again
    [ -e "$home/releases/$release/outcome" ] || rm -rf "$home/releases/${release:?}"
    finish "$1"
}

# --- the lock -----------------------------------------------------------------------------------------------------

try_lock() {
    if command -v flock >/dev/null 2>&1; then flock -n 9; return; fi
    boot=$(cat /proc/sys/kernel/random/boot_id)
    if mkdir "$home/lock.d" 2>/dev/null; then echo "$$ $boot" >"$home/lock.d/owner"; return; fi
    # No owner yet: either it is being written just now, or whoever made the folder was killed before it could be.
    [ -s "$home/lock.d/owner" ] || sleep 1
    pid='' since=''
    read -r pid since 2>/dev/null <"$home/lock.d/owner"
    [ "$since" = "$boot" ] && kill -0 "$pid" 2>/dev/null && return 1
    rm -rf "$home/lock.d"
    mkdir "$home/lock.d" 2>/dev/null && echo "$$ $boot" >"$home/lock.d/owner"
}

holder_text() { # run ID by WHO since WHEN, at 'STEP'
    held=$(tr '\n' ' ' <"$home/holder" 2>/dev/null)
    running=$(sed -n 's/^run //p' "$home/holder" 2>/dev/null)
    at=$(sed -n 's/.*"event":"step","name":"\([^"]*\)".*/\1/p' "$home/run/$running/events" 2>/dev/null | tail -n 1)
    echo "${held:-another run} at '${at:-the start}'"
}

take_lock() {
    exec 9>>"$home/lock"
    waited=0
    if [ -s "$home/held" ]; then
        event locked holder "$(head -n 1 "$home/held")"
        refuse locked
    fi
    until try_lock; do
        [ -z "$cancelled" ] || refuse locked
        # A runner that was killed leaves its last command behind, which holds the lock until it is done.
        holder=$(sed -n 's/^pid //p' "$home/holder" 2>/dev/null)
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then limit=60; else limit=$lock_wait; fi
        if [ "$waited" -ge "$limit" ]; then
            event locked holder "$(holder_text)"
            refuse locked
        fi
        [ "$waited" -gt 0 ] || event waiting holder "$(holder_text)"
        sleep 1
        waited=$((waited + 1))
    done
    locked=yes
    [ "$(cat "$home/current" 2>/dev/null)" = "$previous" ] || refuse stale
    rm -rf "$home"/run/*/scratch "$home"/*.new      # of a runner that was killed
    mkdir "$scratch"
    printf 'run %s\nby %s\nsince %s\npid %s\n' "${run##*/}" "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $$ >"$home/holder"
}

# --- the live folder ----------------------------------------------------------------------------------------------

# What the live folder holds of the paths that releases know: kind, mode, content. A file whose size, change time and inode are
# as they were noted after the last apply still has the content of that release; only the others are hashed.
look_at_live() { # HAVE WANT
    cut -f5 "$1" "$2" | sort -u >"$scratch/paths"
    [ -d "$live" ] || { : >"$scratch/now"; return; }
    (cd "$live" && tr '\n' '\0' <"$scratch/paths" | xargs -0 stat -c "%f$tab%s$tab%Z$tab%i$tab%n" -- 2>/dev/null) >"$scratch/look"
    [ -f "$home/live.stat" ] || : >"$home/live.stat"
    awk -F"$tab" 'FILENAME == ARGV[1] { seen[$0]; next } $1 ~ /^8/ && !($0 in seen) { printf "%s%c", $5, 0 }' \
        "$home/live.stat" "$scratch/look" >"$scratch/look.files"
    (cd "$live" && xargs -0 sha256sum -- <"$scratch/look.files" 2>/dev/null) | sed 's/^\([0-9a-f]*\) [ *]/\1'"$tab"'/' >"$scratch/look.sums"
    awk -F"$tab" '$1 ~ /^a/ { print $5 }' "$scratch/look" | while IFS= read -r path; do
        printf 'link:%s\t%s\n' "$(readlink "$live/$path")" "$path"
    done >>"$scratch/look.sums"
    # → kind mode content path; content '=' is "as the manifest has it"
    awk -F"$tab" '
        FILENAME == ARGV[1] { sum[$2] = $1; next }
        { kind = $1 ~ /^8/ ? "f" : $1 ~ /^a/ ? "l" : $1 ~ /^4/ ? "d" : "?"
          print kind "\t" substr($1, length($1) - 2) "\t" (($5 in sum) ? sum[$5] : "=") "\t" $5 }
    ' "$scratch/look.sums" "$scratch/look" >"$scratch/now"
}

# What to do so that the live folder holds WANT: `drop`, `put`, `mode`, `aside`, `dir` and a path a line. A file that is neither
# what a release brought (HAVE) nor what is wanted is somebody's data: set aside, never lost.
decide() { # HAVE WANT
    look_at_live "$1" "$2"
    awk -F"$tab" '
        function hex(octal,  i, n) { for (i = 1; i <= length(octal); i++) n = n * 8 + substr(octal, i, 1); return n }
        function unhex(text,  i, n) { for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1; return n }
        function content() { return $1 == "l" ? "link:" $6 : $1 == "d" ? "dir" : $4 }
        FILENAME == ARGV[1] { ours[$5, content()]; only[$5] = content(); known[$5]; next }
        FILENAME == ARGV[2] { want[$5] = content(); kind[$5] = $1; mode[$5] = $2; known[$5]; next }
        { here[$4] = $1 == "d" ? "dir" : $3 == "=" ? only[$4] : $3; perm[$4] = unhex($2) % 4096 }
        function through_link(path,  n, part, i, above) { # one of its folders is a symlink now: what is seen there is not here
            n = split(path, part, "/")
            for (i = 1; i < n; i++) {
                above = above (i > 1 ? "/" : "") part[i]
                if (above in here && here[above] ~ /^link:/) return 1
            }
            return 0
        }
        END {
            for (path in known) if (path in here && index(path, "/") && through_link(path)) gone[path]
            for (path in gone) delete here[path]
            for (path in known) {
                if (!(path in want)) {
                    if (!(path in here)) continue
                    print ((here[path] == "dir" ? "rmdir" : (path, here[path]) in ours ? "drop" : "aside") "\t" path)
                } else if (kind[path] == "d") {
                    if (!(path in here)) print "dir\t" path
                    else if (here[path] != "dir") print ((path, here[path]) in ours ? "drop" : "aside") "\t" path "\ndir\t" path
                } else if (!(path in here)) print "put\t" path
                else if (here[path] == want[path]) {
                    if (kind[path] == "f" && perm[path] != hex(mode[path])) print "mode\t" path "\t" mode[path]
                } else {
                    if (here[path] == "dir") print "room\t" path
                    else if (!((path, here[path]) in ours)) print "aside\t" path
                    print "put\t" path
                }
            }
        }' "$1" "$2" "$scratch/now" | sort >"$scratch/todo"
}

manifest_of() { if [ -n "$1" ]; then echo "$home/releases/$1/manifest"; else echo /dev/null; fi; }

manifest_of_live() { if [ -f "$home/live.manifest" ]; then echo "$home/live.manifest"; else echo /dev/null; fi; }

stage() { # RELEASE: copies of what `apply` will need, so that the services' downtime is not the copying's
    decide "$(manifest_of_live)" "$(manifest_of "$1")"
    [ "$(head -n 1 "$scratch/staged" 2>/dev/null)" = "$1" ] || { rm -rf "$scratch/stage"; echo "$1" >"$scratch/staged"; }
    mkdir -p "$scratch/stage"
    sed -n "s/^put$tab/.\//p" "$scratch/todo" | awk 'NR == FNR { done[$0]; next } !($0 in done)' "$scratch/staged" - >"$scratch/look.put"
    [ -s "$scratch/look.put" ] || return 0
    cat "$scratch/look.put" >>"$scratch/staged"
    # -m: these are new files of today; a web server tells them by that from yesterday's of the same size
    # xargs, since not every busybox tar has -T
    # shellcheck disable=SC2016
    (cd "$home/releases/$1/files" && tr '\n' '\0' <"$scratch/look.put" |
        xargs -0 sh -c 'tar -cf - "$@" | (cd "$0" && tar -xpomf -)' "$scratch/stage")
}

apply() { # RELEASE ('' takes everything out again): the live folder holds exactly its files, and whatever else was there
    : >"$run/touched"
    have=$(manifest_of_live) want=$(manifest_of "$1")
    stage "$1" || return 1
    rm -f "$home/live.stat"      # first: with two releases' files in the manifest, nothing is known by its state alone
    cat "$have" "$want" | sort -u >"$home/live.manifest.new" && mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    if [ ! -d "$live" ] && [ -n "$1" ]; then
        mv "$scratch/stage" "$live" || return 1
        grep "^dir$tab" "$scratch/todo" >"$scratch/look.dirs" || :
        mv "$scratch/look.dirs" "$scratch/todo"
    fi
    mkdir -p "$live" && change || return 1
    cat "$want" >"$home/live.manifest.new" && mv "$home/live.manifest.new" "$home/live.manifest" || return 1
    note_stat
}

change() {
    grep -E "^(drop|aside|rmdir|room)$tab" "$scratch/todo" >"$scratch/look.out" || :
    grep -E "^(put|mode|dir)$tab" "$scratch/todo" >"$scratch/look.in" || :
    while IFS=$tab read -r what path mode; do take_out "$what" "$path" || return 1; done <"$scratch/look.out"
    while IFS=$tab read -r what path mode; do bring_in "$what" "$path" "$mode" || return 1; done <"$scratch/look.in"
}

take_out() { # WHAT PATH
    case $1 in
        drop) rm -f -- "$live/$2" && forget_empty "$2" ;;
        rmdir) rmdir -- "$live/$2" 2>/dev/null || : ;;
        room) # for a file, after our own files have left the folder; an empty one is what Docker makes for a missing mount
            [ ! -d "$live/$2" ] || rmdir -- "$live/$2" 2>/dev/null || take_out aside "$2" ;;
        aside)
            mv -- "$live/$2" "$live/$2.before-${run##*/}" && event aside path "$2" kept "$2.before-${run##*/}" ;;
    esac
}

forget_empty() { # PATH: folders that held nothing else go with their last file
    parent=${1%/*}
    while [ "$parent" != "$1" ] && [ "$parent" != . ] && rmdir -- "$live/$parent" 2>/dev/null; do
        case $parent in */*) parent=${parent%/*} ;; *) break ;; esac
    done
    return 0
}

bring_in() { # WHAT PATH MODE
    case $2 in */*) [ -d "$live/${2%/*}" ] || mkdir -p -- "$live/${2%/*}" || return 1 ;; esac
    case $1 in
        put)
            [ ! -L "$live/$2" ] || rm -f -- "$live/$2"     # mv would move into the folder that it leads to
            mv -f -- "$scratch/stage/$2" "$live/$2" ;;
        mode) chmod "$3" -- "$live/$2" ;;
        dir) mkdir -p -- "$live/$2" ;;
    esac
}

note_stat() {
    look_at_live "$home/live.manifest" /dev/null
    # A file changed within this very second could change again and look the same: leave it to be hashed next time.
    awk -F"$tab" -v now="$(date +%s)" '$3 < now - 1' "$scratch/look" >"$home/live.stat.new" && mv "$home/live.stat.new" "$home/live.stat"
}

# --- the steps that are more than one command ------------------------------------------------------------------------

in_live() { : >"$run/touched"; cd "$live" && "$@"; }

in_release() { cd "$home/releases/$release/files" && "$@"; }

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

# The images that the release runs with, under a tag of their own: the next build takes the name, not the image.
keep_images() {
    dir=$home/releases/$release
    ids=$(containers)
    cut -f3 "$dir/images" >"$scratch/look.before" 2>/dev/null
    : >"$dir/images.new"
    # shellcheck disable=SC2086
    [ -z "$ids" ] || docker inspect --format "{{index .Config.Labels \"com.docker.compose.service\"}}$tab{{.Config.Image}}$tab{{.Image}}" $ids | sort -u >"$dir/images.new"
    while IFS=$tab read -r service _ image; do
        docker tag "$image" "towline/$project/$service:$release" || return 1
    done <"$dir/images.new"
    mv "$dir/images.new" "$dir/images"
    # built again for the same release, and without any name now
    while read -r image; do
        [ "$(docker image inspect --format '{{len .RepoTags}}' "$image" 2>/dev/null)" != 0 ] || docker rmi "$image" >/dev/null 2>&1
    done <"$scratch/look.before"
    # what the next build may need of the disk: the size of the images that were built (compose labels them)
    cut -f3 "$dir/images" | sort -u | xargs docker image inspect --format \
        '{{if .Config.Labels}}{{index .Config.Labels "com.docker.compose.project"}} {{.Size}}{{end}}' 2>/dev/null |
        awk -v project="$project" '$1 == project { sum += $2 } END { printf "%d\n", sum }' >"$dir/built"
}

note_end() { # OUTCOME
    echo "$1" >"$home/releases/$release/outcome"
    now=$(uptime_now)
    echo "$now $begun" | awk '{ printf "%.1f\n", $1 - $2 }' >"$home/releases/$release/seconds"
}

keep_release() {
    keep_images || return 1
    [ -z "$previous" ] || [ "$previous" = "$release" ] || echo "$previous" >"$home/before"
    echo "$release" >"$home/current.new" && mv "$home/current.new" "$home/current" || return 1
    note_end good
    forget_releases
    forget_runs
}

forget_releases() {
    for dir in "$home"/releases/*/; do dir=${dir%/}; echo "${dir##*/}"; done | grep -v '\.part$' | sort -r | tail -n "+$((keep + 1))" >"$scratch/look.old"
    while read -r id; do
        [ "$id" = "$release" ] || [ "$id" = "$(cat "$home/before" 2>/dev/null)" ] && continue
        while IFS=$tab read -r service _ _; do
            docker rmi "towline/$project/$service:$id" >/dev/null 2>&1
        done 2>/dev/null <"$home/releases/$id/images"
        rm -rf "$home/releases/${id:?}"
    done <"$scratch/look.old"
}

forget_runs() {
    for dir in "$home"/run/*/; do dir=${dir%/}; echo "${dir##*/}"; done | sort -r | tail -n +11 | while read -r id; do
        rm -rf "$home/run/${id:?}"
    done
}

restore_images() { # RELEASE, whose files are live
    [ -s "$home/releases/$1/images" ] || return 0
    while IFS=$tab read -r service name _; do
        case $name in sha256:*) continue ;; esac
        docker tag "towline/$project/$service:$1" "$name" 2>/dev/null && continue
        event rebuild service "$service"       # somebody pruned the kept image: the release's own files make it again
        (cd "$live" && docker compose --project-name "$project" build "$service") || return 1
    done <"$home/releases/$1/images"
}

# --- the sequence ---------------------------------------------------------------------------------------------------

pause=0.1
sleep $pause 2>/dev/null || pause=1

cancel() {
    cancelled=yes
    [ -z "$child" ] || end_child
}

step_is() { event step name "$step" state "$1" code "${code:-}" output "$(wc -c <"$run/output")"; }

run_steps() { # FILE: 1 at the first step that fails, its name in $step
    while IFS=$tab read -r step seconds command <&3; do
        [ -z "$cancelled" ] || return 1
        code=''
        step_is begin
        ( eval "$command" ) >>"$run/output" 2>&1 3<&- </dev/null &
        child=$!
        wait_for_child "$seconds"
        if [ "$code" -eq 0 ]; then step_is "done"; continue; fi
        if [ -n "$cancelled" ]; then step_is cancelled
        elif [ -n "$overdue" ]; then step_is overdue
        else step_is failed; fi
        return 1
    done 3<"$1"
}

wait_for_child() { # SECONDS, 0 for ever → $code
    overdue=''
    if [ "$1" -gt 0 ]; then
        until_when=$(uptime_now) until_when=$((${until_when%.*} + $1))
        while kill -0 "$child" 2>/dev/null; do
            sleep "$pause"
            now=$(uptime_now)
            [ "${now%.*}" -lt "$until_when" ] || { overdue=yes; end_child; break; }
        done
    fi
    wait "$child"
    code=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done   # a trap ends `wait` early
    child=''
}

end_child() { # the runner leads its own process group (setsid), so this reaches the step's commands and theirs
    trap '' TERM
    kill -TERM 0 2>/dev/null
    trap cancel TERM
}

put_back() {
    failed=$step
    cancelled=''
    if [ ! -e "$run/touched" ]; then
        [ -z "$previous" ] || restore_images "$previous" >>"$run/output" 2>&1
        finish kept
    fi
    event restore after "$failed" release "${previous:-nothing}"
    trap : TERM INT      # what puts things back is not cancelled (and, unlike '', this is not inherited)
    if run_steps "$run/undo"; then finish restored; fi
    finish down
}

trap cancel TERM INT
trap '' HUP PIPE
begun=$(uptime_now)
event start run "${run##*/}" release "$release"
echo "$release" >"$run/release"
take_lock
if run_steps "$run/steps"; then finish deployed; fi
# A release that once ran healthy stays one to go back to, though this run of it failed.
if [ "$(cat "$home/releases/$release/outcome" 2>/dev/null)" != good ]; then note_end failed; fi
put_back
