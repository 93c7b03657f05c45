#!/bin/sh
# host.sh: the machine, as one JSON object. Changes nothing. What cannot be read is left out.
set -u
LC_ALL=C
export LC_ALL

# The sshd that this session came from: the program furthest up that is one. Its title tells its settings file.
find_sshd() {
    pid=$$ sshd=''
    while [ "${pid:-0}" -gt 1 ]; do
        name='' parent=''
        while read -r key value _; do
            case $key in Name:) name=$value ;; PPid:) parent=$value; break ;; esac
        done 2>/dev/null <"/proc/$pid/status"
        case $name in sshd*) sshd=$pid ;; esac
        pid=$parent
    done
    [ -n "$sshd" ] && tr '\0' ' ' 2>/dev/null <"/proc/$sshd/cmdline"
}

title=$(find_sshd)
config=$(printf '%s\n' "$title" | sed -n 's/.* -f *\([^ ]*\).*/\1/p')
config=${config:-/etc/ssh/sshd_config}
# What Include names is read where it stands, and Debian has it first; of two values the first counts.
included=$(sed -n 's/^[[:space:]]*[Ii]nclude[[:space:]]*//p' "$config" 2>/dev/null)
reboot=no
[ ! -e /var/run/reboot-required ] || reboot=yes
[ -d "/lib/modules/$(uname -r)" ] || [ ! -d /lib/modules ] || [ -z "$(ls /lib/modules 2>/dev/null)" ] || [ -e /.dockerenv ] || reboot=kernel
# shellcheck disable=SC2086  # Include takes patterns
{
    echo "@now $(date +%s.%N)"
    echo "@user $(id -un)"
    echo "@kernel $(uname -r) $(uname -m)"
    echo "@reboot $reboot"
    echo "@config $(cd /etc/ssh 2>/dev/null || exit; for file in $included "$config"; do [ -r "$file" ] || [ ! -e "$file" ] || echo un; done | head -n 1)readable"
    echo @file os; cat /etc/os-release /usr/lib/os-release 2>/dev/null
    echo @file load; cat /proc/loadavg
    echo @file cpu; grep -c '^processor' /proc/cpuinfo
    echo @file memory; cat /proc/meminfo
    echo @file uptime; cat /proc/uptime
    echo @file sshd; (cd /etc/ssh 2>/dev/null || exit; cat $included "$config" 2>/dev/null)
} | awk '
    function json(text) {
        gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); gsub(/[\001-\037]/, " ", text)
        return "\"" text "\""
    }
    function put(key, value) { found = found (found == "" ? "" : ",") "\"" key "\":" value }
    function number(text) { return text ~ /^[0-9]+$/ ? text : 0 }
    $1 == "@file" { part = $2; next }
    /^@/ { part = ""; key = substr($1, 2); sub(/^@[a-z]+ ?/, ""); say[key] = $0; next }
    part == "os" && !named && sub(/^PRETTY_NAME=/, "") { gsub(/^["\047]|["\047]$/, ""); named = 1; put("os", json($0)); next }
    part == "load" { put("load", "[" $1 "," $2 "," $3 "]") }
    part == "cpu" { put("cpus", number($1)) }
    part == "memory" && $1 == "MemTotal:" { put("memory", sprintf("%.0f", number($2) * 1024)) }
    part == "memory" && $1 == "MemAvailable:" { put("memory_free", sprintf("%.0f", number($2) * 1024)) }
    part == "uptime" { put("uptime", $1) }
    part == "sshd" {
        word = tolower($1)
        if (word == "match") part = "rest"       # holds for some logins only
        else if (!(word in set)) { set[word]; if (word == "maxsessions") sessions = number($2); else if (word == "maxstartups") startups = $2 }
    }
    END {
        at = say["now"]; sub(/[^0-9.].*$/, "", at); sub(/\.$/, "", at)
        put("now", at)
        put("user", json(say["user"])); put("kernel", json(say["kernel"])); put("reboot", json(say["reboot"]))
        if (say["config"] == "readable") { put("max_sessions", sessions == "" ? 10 : sessions); put("max_startups", json(startups == "" ? "10:30:100" : startups)) }
        printf "{%s}\n", found
    }'
