#!/bin/sh
# health.sh: which containers of the project are good, and how long the others may take. Functions only: runner.sh
# sources it; `health` is a command of a step.
#
# In the run's folder it reads
#   services   rows `SERVICE KIND LIMIT WATCH ACTION`, as the plan has them. KIND: job for a one-shot that others wait
#              for, else `-`. LIMIT: seconds in place of $timeout; WATCH: for how long a container without a health
#              check has to run; `-` for the default. ACTION: what the plan says that happens to it
# and writes
#   before     rows `SERVICE ID IMAGE HASH VERDICT STARTED RESTARTS` of the containers that were there before anything
#              happened. VERDICT: good or bad
# shellcheck disable=SC2015,SC2034,SC2154,SC2317  # runner.sh sets and reads these; steps call functions by name
job_limit=1800 watch=5

# A row for each container of the project: SERVICE STATE HEALTH CODE POLICY RESTARTS STARTED NAME ID IMAGE HASH TIMES
# RESULT IMAGE-NAME BINDS. TIMES: start period, interval, retries and timeout of its health check, in nanoseconds, `-`
# without one. RESULT: the last result of that check, `"TIME"=CODE`. BINDS: what it has bind mounts of, as JSON.
times_of='{{with .Config.Healthcheck}}{{printf "%d %d %d %d" .StartPeriod .Interval .Retries .Timeout}}{{else}}-{{end}}'
result_of='{{if .State.Health}}{{range .State.Health.Log}}{{json .Start}}={{.ExitCode}} {{end}}{{end}}'
binds_of='{{range .Mounts}}{{if eq .Type "bind"}}{{json .Source}} {{end}}{{end}}'
container_state="$service_of$tab{{.State.Status}}$tab$health_of$tab{{.State.ExitCode}}$tab$restart_policy_of\
$tab{{.RestartCount}}$tab{{.State.StartedAt}}$tab{{.Name}}$tab{{.ID}}$tab{{.Image}}$tab$config_hash_of\
$tab$times_of$tab$result_of$tab{{.Config.Image}}$tab$binds_of"

whole_uptime() { read -r up _ </proc/uptime; printf '%s\n' "${up%.*}"; }

# Looks every tenth of a second, and starts nothing but `sleep`.
still_runs() { # PID SECONDS: 0 when it still runs after so long. SECONDS: whole ones, or with two decimals
    read_hundredths
    case $2 in
        *.*) until_when=$((hundredths + ${2%.*} * 100 + 1${2#*.} - 100)) ;;
        *) until_when=$((hundredths + $2 * 100)) ;;
    esac
    while kill -0 "$1" 2>/dev/null; do
        read_hundredths
        [ "$hundredths" -lt "$until_when" ] || return 0
        sleep "$pause"
    done
    return 1
}

read_hundredths() { # sets hundredths: the uptime; /proc has two decimals, and 08 would be octal
    read -r up _ </proc/uptime
    hundredths=$((${up%.*} * 100 + 1${up#*.} - 100))
}

# Reads the rows into $scratch/rows.all, those of the service $only (or of all) into $scratch/containers, and into
# $scratch/seen when each was first seen with that start: `ID STARTED UPTIME`. Exit code 1: Docker does not answer.
read_states() {
    inspect_project "$container_state" >"$scratch/rows.new" || return 1
    take_states
}

read_states_again() { # the same, without listing them: unless one of them is gone
    ids=$(cut -f9 "$scratch/rows.all")
    # shellcheck disable=SC2086
    if [ -n "$ids" ] && docker inspect --type container --format "$container_state" $ids 2>/dev/null \
        >"$scratch/rows.new"; then take_states; else read_states; fi
}

take_states() {
    mv -f "$scratch/rows.new" "$scratch/rows.all"
    [ -e "$scratch/resting" ] || : >"$scratch/resting"      # those that did not run before either
    awk -F"$tab" -v only="${only:-}" '
        FILENAME == ARGV[1] { resting[$1]; next }
        (only == "" || $1 == only) && !($9 in resting)
    ' "$scratch/resting" "$scratch/rows.all" >"$scratch/containers"
    touch "$scratch/seen"
    awk -F"$tab" -v OFS="$tab" -v now="$(uptime_now)" '
        FILENAME == ARGV[1] { seen[$1, $2]; next }
        !(($9, $7) in seen) { print $9, $7, now }
    ' "$scratch/seen" "$scratch/containers" >"$scratch/seen.new"
    cat "$scratch/seen.new" >>"$scratch/seen"
}

# Who is to blame for what is bad later on: containers that are bad now, before anything happens.
record_before() {
    : >"$run/before"
    read_states || return 0
    lately=$(date -u -d "@$(($(date +%s) - 300))" +%Y-%m-%dT%H:%M:%S 2>/dev/null)
    awk -F"$tab" -v OFS="$tab" -v lately="${lately:-9999}" '
        {
            good = $2 == "running" && $3 != "unhealthy" || $2 == "exited" && $4 == 0
            if ($2 == "running" && $3 == "-" && $6 >= 3 && $7 "" > lately "") good = 0    # it starts over and over
            print $1, $9, $10, $11, (good ? "good" : "bad"), $7, $6
        }' "$scratch/containers" >"$run/before"
}

# Prints a row `VERDICT SERVICE CONTAINER WHY ID ELAPSED LIMIT` for each container, `-` where one is missing. VERDICT:
#   good
#   known    bad, as it was before, and this run does not change it
#   bad
#   wait     not good yet
#   settle   it runs without a health check, and not for long enough yet
#   job      a one-shot at work
#   old      healthy, by a result that may be older than what this run changed
judge_states() { # reads began_at, the uptime since which is waited
    touch "$run/services" "$run/before" "$scratch/expected" "$scratch/confirmed" "$scratch/results"
    interrupted=$(interrupted_before)
    awk -F"$tab" -v now="$(uptime_now)" -v began="$began_at" -v timeout="$timeout" -v job_limit="$job_limit" \
        -v default_watch="$watch" -v undoing="${undoing:-}" -v interrupted="$interrupted" "$judge_program" \
        "$run/services" "$run/before" "$scratch/seen" "$scratch/expected" "$scratch/confirmed" "$scratch/results" \
        "$scratch/containers"
}

# shellcheck disable=SC2016
limit_functions='
    function larger(a, b) { return a + 0 > b + 0 ? a + 0 : b + 0 }
    function own_limit(times,  part) {      # what its health check may take, with the defaults of Docker
        if (times == "-" || split(times, part, " ") < 4) return 0
        if (part[2] + 0 == 0) part[2] = 30e9
        if (part[3] + 0 == 0) part[3] = 3
        if (part[4] + 0 == 0) part[4] = 30e9
        return (part[1] + part[2] * part[3] + part[4]) / 1e9
    }
'
# shellcheck disable=SC2016
judge_program=$limit_functions'
    # Not changed by this run: the same container, or one that is made of the same.
    function is_same(service, id, image, hash) {
        if (id in before) return 1
        if (undoing != "") return (service, image, hash) in made_of
        if (action[service] ~ /^(unchanged|restart)$/) return (service, hash) in made_of
        return (service, image, hash) in made_of
    }
    function is_excused(service, id, image, hash) {
        if (!(service in bad) || !is_same(service, id, image, hash)) return 0
        if (undoing != "" || action[service] ~ /^(unchanged|restart)$/) return 1
        # what an interrupted run has left behind never was good
        return (action[service] == "create" || action[service] == "") && interrupted == ""
    }
    FILENAME == ARGV[1] { kind[$1] = $2; limit[$1] = $3; watch[$1] = $4; action[$1] = $5; next }
    FILENAME == ARGV[2] {
        before[$2] = $6; restarts[$2] = $7; made_of[$1, $3, $4]; made_of[$1, $4]
        if ($5 == "bad") bad[$1]
        next
    }
    FILENAME == ARGV[3] {
        since[$1, $2] = $3
        if (!($1 in first)) first[$1] = $3
        next
    }
    FILENAME == ARGV[4] { missing[$1] = $2; next }
    FILENAME == ARGV[5] { confirmed[$1]; next }
    FILENAME == ARGV[6] { result_then[$1] = $2; next }
    {
        service = $1; id = $9; verdict = "wait"; why = $2; missing[service]--
        unmoved = (id in before) && before[id] == $7
        is_job = kind[service] == "job"
        runs_for = now - since[id, $7]
        must_run = watch[service] ~ /^[0-9]/ ? watch[service] + 0 : default_watch
        most = limit[service] ~ /^[0-9]/ ? limit[service] + 0 : is_job ? larger(timeout, job_limit) : timeout
        if (!is_job) most = larger(most, own_limit($12))
        elapsed = now - larger(began, first[id])
        again = $6 - (id in restarts ? restarts[id] : 0)
        if (is_job && $2 == "running") { verdict = "job"; elapsed = now - first[id]; why = "is still at work" }
        else if ($2 == "running" && $3 == "healthy") {
            n = split($13, result, " ")
            if (!unmoved || id in confirmed) verdict = "good"
            else if (result_then[id] != "" && result[n] != result_then[id] && result[n] ~ /=0$/) verdict = "good"
            else { verdict = "old"; why = "healthy, but its health check has not passed again since" }
        } else if ($2 == "running" && $3 == "unhealthy") {
            # what it depends on was away for a moment: its next results count
            why = "unhealthy"
            if (!unmoved) verdict = "bad"
        } else if ($2 == "running" && $3 == "-") {
            most = larger(most, must_run + 5)
            if (unmoved && again == 0) verdict = "good"
            else if (runs_for >= must_run) { verdict = "good"; why = must_run ? "watched " must_run : why }
            else if (again >= 3) { verdict = "bad"; why = "restarts over and over, exit code " $4 }
            else { verdict = "settle"; why = sprintf("has run for %d s only", runs_for) }
        } else if ($2 == "running") why = "health: " $3
        else if ($2 == "exited" && $4 == 0 && ($5 == "no" || $5 == "on-failure")) verdict = "good"
        else if ($2 == "exited" && $5 == "no" || $2 == "dead") { verdict = "bad"; why = "exited with code " $4 }
        else if (($2 == "restarting" || $2 == "exited") && again >= 3) {
            verdict = "bad"
            why = "restarts over and over, exit code " $4
        }
        # one that was made anew gets its time to become good
        if (verdict != "good" && verdict != "job" && is_excused(service, id, $10, $11) &&
            (id in before || verdict == "bad" || elapsed >= most)) verdict = "known"
        printf "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", verdict, service, substr($8, 2), why, id, elapsed, most
    }
    END {
        for (service in missing) if (missing[service] > 0) print "bad\t" service "\t-\tits container is gone\t-\t0\t0"
    }
'

own_time() { # SERVICE IDS: prints the seconds that they may take to become healthy
    # shellcheck disable=SC2086
    docker inspect --format "$times_of" $2 >"$scratch/times"
    awk -F"$tab" -v service="$1" -v timeout="$timeout" "$limit_functions"'
        FILENAME == ARGV[1] { if ($1 == service && $3 ~ /^[0-9]/) timeout = $3; next }
        { timeout = larger(timeout, own_limit($1)) }
        END { printf "%d\n", timeout }
    ' "$run/services" "$scratch/times"
}

interrupted_before() { # prints the last run before this one that has no result, of those that are still there
    for folder in "$home"/run/*/; do
        folder=${folder%/}
        [ "$folder" = "$run" ] || [ -s "$folder/result" ] || [ ! -e "$folder/steps" ] || printf '%s\n' "${folder##*/}"
    done | tail -n 1
}

health() { # [SERVICE]: waits until every container (of SERVICE) is good. 1: one is bad, or took too long
    began_at=$(whole_uptime)
    : >"$scratch/confirmed"
    : >"$scratch/tried"
    only=${1:-} look=read_states
    [ -z "$only" ] || : >"$scratch/expected"
    while :; do
        if ! "$look"; then
            [ $(($(whole_uptime) - began_at)) -lt "$timeout" ] || { echo "Docker does not answer"; return 1; }
            sleep 1
            continue
        fi
        [ "$look" = read_states_again ] || awk -F"$tab" -v OFS="$tab" '
            { n = split($13, result, " "); print $9, (n ? result[n] : "-") }' "$scratch/containers" >"$scratch/results"
        look=read_states_again
        judge_states >"$scratch/verdicts" || return 1
        tell_jobs
        if grep -q '^bad' "$scratch/verdicts"; then report_unhealthy bad; return 1; fi
        if ! grep -qvE '^(good|known)' "$scratch/verdicts"; then report_good; return; fi
        if overdue_verdicts >"$scratch/overdue" && [ -s "$scratch/overdue" ]; then
            sed "s/^[a-z]*$tab/late$tab/" "$scratch/overdue" >"$scratch/verdicts"
            report_unhealthy late
            return 1
        fi
        if ! grep -qvE '^(good|known|old)' "$scratch/verdicts"; then confirm_old; continue; fi
        if grep -q '^wait' "$scratch/verdicts" && [ $(($(whole_uptime) - began_at)) -lt 20 ]; then sleep "$pause"
        else sleep 1; fi
    done
}

overdue_verdicts() { awk -F"$tab" '$1 ~ /^(wait|settle|job|old)$/ && $6 >= $7' "$scratch/verdicts"; }

# All are good, but for those that were bad before. 1: then there must be one that is good.
report_good() {
    known=$(grep -c '^known' "$scratch/verdicts")
    if [ "$known" -gt 0 ] && [ -z "${undoing:-}" ] && ! grep -q '^good' "$scratch/verdicts"; then
        report_unhealthy known
        return 1
    fi
    awk -F"$tab" '$1 == "known" { print $2 "\t" $4 }' "$scratch/verdicts" | sort -u |
        while IFS=$tab read -r service why; do event known service "$service" why "$why"; done
    awk -F"$tab" -v OFS="$tab" '$1 == "good" && sub(/^watched /, "", $4) { print $2, $4 }' "$scratch/verdicts" |
        sort -u | while IFS=$tab read -r service seconds; do event watched service "$service" seconds "$seconds"; done
}

report_unhealthy() { # VERDICT: an event for each container that has it, and the last lines of its log
    grep "^$1" "$scratch/verdicts" | while IFS=$tab read -r _ service container why _ elapsed most; do
        [ "$1" != late ] || why="$why, after $elapsed s of at most $most s"
        event unhealthy service "$service" why "$why"
        [ "$container" != - ] || continue
        docker logs --tail 20 "$container" 2>&1 |
            while IFS= read -r line; do event log service "$service" line "$line"; done
    done
}

# --- a result that is newer than `up` ---------------------------------------------------------------------------------

# Docker may take an interval to ask again whether one that was healthy before still is. So its health check is run
# here, too: what passes counts. After three tries only Docker's own next result does.
confirm_old() {
    grep '^old' "$scratch/verdicts" | cut -f5 | {
        while read -r id; do
            [ "$(grep -cxF "$id" "$scratch/tried")" -lt 3 ] || continue
            printf '%s\n' "$id" >>"$scratch/tried"
            { ! passes "$id" || printf '%s\n' "$id" >>"$scratch/confirmed"; } &
        done
        wait
    }
    ! grep '^old' "$scratch/verdicts" | cut -f5 | grep -qvxFf "$scratch/confirmed" || sleep 1
}

passes() { # ID: its health check, once
    id=$1 test_of=.Config.Healthcheck.Test number=1
    read -r kind words shell_words within <<EOF
$(docker inspect --format \
    "{{index $test_of 0}} {{len $test_of}} {{len .Config.Shell}} {{printf \"%d\" .Config.Healthcheck.Timeout}}" "$id")
EOF
    set --
    case $kind in
        CMD) ;;
        CMD-SHELL)
            while [ $# -lt "$shell_words" ]; do set -- "$@" "$(word_of "$id" .Config.Shell $#)"; done
            [ $# -gt 0 ] || set -- /bin/sh -c ;;
        *) return 1 ;;
    esac
    while [ "$number" -lt "$words" ]; do
        set -- "$@" "$(word_of "$id" "$test_of" "$number")"
        number=$((number + 1))
    done
    within=$((within / 1000000000))
    [ "$within" -gt 0 ] || within=30
    timeout "$within" docker exec "$id" "$@" >/dev/null 2>&1 </dev/null
}

word_of() { docker inspect --format "{{index $2 $3}}" "$1"; }     # ID LIST NUMBER
