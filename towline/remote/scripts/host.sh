#!/bin/sh
# host.sh: the machine, as one JSON object. Changes nothing. Reads /proc, os-release and the settings of sshd. What
# cannot be read is left out. Its keys:
#   now (seconds since 1970), uptime (seconds), user (the login), os, kernel, cpus, load (of 1, 5 and 15 minutes),
#   memory, memory_free (bytes), reboot (no; yes: a package asks for it; kernel: the running one lost its modules),
#   max_sessions, max_startups (of the sshd that this session came from)
set -u
LC_ALL=C
export LC_ALL

# The command line of the sshd that this session came from, the topmost ancestor of that name. It tells its settings
# file.
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

# shellcheck disable=SC2086  # Include takes patterns
settings_can_be_read() {
    cd /etc/ssh 2>/dev/null || return 0
    for file in $included "$config"; do [ -r "$file" ] || [ ! -e "$file" ] || return 1; done
}

title=$(find_sshd)
config=$(printf '%s\n' "$title" | sed -n 's/.* -f *\([^ ]*\).*/\1/p')
config=${config:-/etc/ssh/sshd_config}
# What Include names is read where it stands, and Debian has it first; of two values the first counts.
included=$(sed -n 's/^[[:space:]]*[Ii]nclude[[:space:]]*//p' "$config" 2>/dev/null)
reboot=no
[ ! -e /var/run/reboot-required ] || reboot=yes
[ -d "/lib/modules/$(uname -r)" ] || [ ! -d /lib/modules ] || [ -z "$(ls /lib/modules 2>/dev/null)" ] ||
    [ -e /.dockerenv ] || reboot=kernel
{
    printf '@now %s\n' "$(date +%s.%N)"
    printf '@user %s\n' "$(id -un)"
    printf '@kernel %s %s\n' "$(uname -r)" "$(uname -m)"
    printf '@reboot %s\n' "$reboot"
    if (settings_can_be_read); then echo "@config readable"; fi
    echo "@file os"; cat /etc/os-release /usr/lib/os-release 2>/dev/null
    echo "@file load"; cat /proc/loadavg
    echo "@file cpu"; grep -c '^processor' /proc/cpuinfo
    echo "@file memory"; cat /proc/meminfo
    echo "@file uptime"; cat /proc/uptime
    echo "@file sshd"
    # shellcheck disable=SC2086
    (cd /etc/ssh 2>/dev/null || exit; cat $included "$config" 2>/dev/null)
} | awk '
    function json(text) {
        gsub(/[\\"]/, "\\\\&", text); gsub(/[\001-\037]/, " ", text)     # mawk makes one backslash of "\\\\" alone
        return "\"" text "\""
    }
    function add(key, value) { members = members (members == "" ? "" : ",") "\"" key "\":" value }
    function number(text) { return text ~ /^[0-9]+$/ ? text : 0 }
    $1 == "@file" { file = $2; next }
    /^@/ { file = ""; key = substr($1, 2); sub(/^@[a-z]+ ?/, ""); given[key] = $0; next }
    file == "os" && !named && sub(/^PRETTY_NAME=/, "") {
        gsub(/^["\047]|["\047]$/, "")
        named = 1
        add("os", json($0))
        next
    }
    file == "load" { add("load", "[" $1 "," $2 "," $3 "]") }
    file == "cpu" { add("cpus", number($1)) }
    file == "memory" && $1 == "MemTotal:" { add("memory", sprintf("%.0f", number($2) * 1024)) }
    file == "memory" && $1 == "MemAvailable:" { add("memory_free", sprintf("%.0f", number($2) * 1024)) }
    file == "uptime" { add("uptime", $1) }
    file == "sshd" {
        word = tolower($1)
        if (word == "match") file = "rest"      # holds for some logins only
        else if (!(word in set)) {
            set[word]
            if (word == "maxsessions") sessions = number($2)
            else if (word == "maxstartups") startups = $2
        }
    }
    END {
        now = given["now"]; sub(/[^0-9.].*$/, "", now); sub(/\.$/, "", now)
        add("now", now)
        add("user", json(given["user"])); add("kernel", json(given["kernel"])); add("reboot", json(given["reboot"]))
        if (given["config"] == "readable") {
            add("max_sessions", sessions == "" ? 10 : sessions)
            add("max_startups", json(startups == "" ? "10:30:100" : startups))
        }
        printf "{%s}\n", members
    }'
