#!/bin/sh
# made_again.sh: containers that somebody made, as Docker tells of them, and the same ones made again by Docker's API:
# with their settings, names, labels, networks, volumes and the very image, whatever has become of their Compose files.
# Functions only: runner.sh sources it; release_zero.sh calls `record_containers` and `make_again`.
#
# In a FOLDER it keeps
#   containers    rows `ID NAME STATUS STARTED IMAGE IMAGE-NAME DEPENDS NETWORK SERVICE`. DEPENDS: the label of Compose
#                 `SERVICE:CONDITION:RESTART,…`; NETWORK: its network mode
#   body/NAME     what POST /containers/create takes, without its last brace and without networks
#   endpoint/NAME rows `NETWORK JSON` for each network of it
#   networks      rows `NAME JSON` for each network that Compose made for the project, as POST /networks/create takes it
#   binds         the paths on the host that they mount, as far as they were there
# shellcheck disable=SC2016,SC2034,SC2154,SC2317  # runner.sh sets variables; formats are in single quotes

depends_of='{{index .Config.Labels "com.docker.compose.depends_on"}}'
# HostConfig.Binds, with anonymous volumes, which only .Mounts has
all_binds='[{{range .HostConfig.Binds}}{{json .}},{{end}}{{range .Mounts}}{{if eq .Type "volume"}}'
all_binds=$all_binds'{{"\u001f"}}{{.Name}}{{"\u001f"}}{{json (printf "%s:%s" .Name .Destination)}},{{end}}{{end}}]'
endpoints='{{range $name, $end := .NetworkSettings.Networks}}{{println}}endpoint'$tab'{{$name}}'$tab'{"IPAMConfig":'
endpoints=$endpoints'{{json $end.IPAMConfig}},"Links":{{json $end.Links}},"Aliases":{{json $end.Aliases}}}{{end}}'
bind_rows='{{range .Mounts}}{{if eq .Type "bind"}}{{println}}bind'$tab'{{.Source}}{{end}}{{end}}'
recorded="container$tab{{.ID}}$tab{{.Name}}$tab{{.State.Status}}$tab{{.State.StartedAt}}$tab{{.Image}}\
$tab{{.Config.Image}}$tab$depends_of$tab{{.HostConfig.NetworkMode}}$tab$service_of$tab{{.Config.Hostname}}
config$tab{{json .Config}}
host$tab{{json .HostConfig}}
binds$tab$all_binds$endpoints$bind_rows"
recorded_network="{{.Name}}$tab{\"Name\":{{json .Name}},\"Driver\":{{json .Driver}},\"Internal\":{{json .Internal}},\
\"Attachable\":{{json .Attachable}},\"EnableIPv6\":{{json .EnableIPv6}},\"IPAM\":{{json .IPAM}},\
\"Options\":{{json .Options}},\"Labels\":{{json .Labels}}}"

record_containers() { # FOLDER: of all containers of the project. Their environment holds secrets: nobody else reads it
    umask 077
    mkdir -p "$1/body" "$1/endpoint" && inspect_project "$recorded" >"$scratch/recorded" || return 1
    : >"$1/containers" && : >"$1/binds" || return 1
    LC_ALL=C awk -F"$tab" -v OFS="$tab" -v folder="$1" '
        function rest() { return substr($0, length($1) + 2) }
        $1 == "container" {
            id = $2; name = substr($3, 2); image = $6
            # one in the network of another has no name and no ports of its own, though it is told
            drop = $9 ~ /^container:/ ? ",\"Hostname\":\"\",\"ExposedPorts\":null" : \
                $11 == substr(id, 1, 12) ? ",\"Hostname\":\"\"" : ""
            print id, name, $4, $5, $6, $7, ($8 == "" ? "-" : $8), $9, $10 >(folder "/containers")
            printf "" >(folder "/endpoint/" name)
        }
        $1 == "config" { config = rest() }
        $1 == "host" { host = rest() }
        $1 == "binds" {
            binds = rest(); n = split(binds, part, "\037"); binds = part[1]
            for (i = 2; i < n; i += 2) if (!index(host, part[i])) {
                target = substr(part[i + 1], length(part[i]) + 3)
                sub(/",.*$/, "", target)
                mount = "{\"Type\":\"volume\",\"Target\":\"" target "\""
                if ((at = index(host, mount)))      # it is declared, and got its name from Docker
                    host = substr(host, 1, at) "\"Source\":\"" part[i] "\"," substr(host, at + 1)
                else binds = binds part[i + 1]
            }
            sub(/,?\]?$/, "]", binds)
            sub(/}$/, "", config)
            sub(/}$/, "", host)
            print config drop ",\"HostConfig\":" host ",\"Binds\":" binds "}" \
                >(folder "/body/" name)
        }
        $1 == "endpoint" { print $2, substr($0, length($1 $2) + 3) >(folder "/endpoint/" name) }
        $1 == "bind" { print $2 >(folder "/binds") }
    ' "$scratch/recorded" || return 1
    sort -u "$1/binds" | while IFS= read -r path; do [ ! -e "$path" ] || printf '%s\n' "$path"; done >"$1/binds.new"
    mv -f "$1/binds.new" "$1/binds"
    ids=$(docker network ls --quiet --no-trunc --filter "label=$project_label=$project") || return 1
    # shellcheck disable=SC2086
    { [ -z "$ids" ] || docker network inspect --format "$recorded_network" $ids; } | cat >"$1/networks" &&
        is_recorded "$1"
}

is_recorded() { # FOLDER: whole, which awk does not tell on a full disk
    [ "$(grep -c "^container$tab" "$scratch/recorded")" = "$(grep -c . "$1/containers")" ] || return 1
    while IFS=$tab read -r _ name _ _ _ _ _ _ service; do
        [ -n "$service" ] && grep -q ']}$' "$1/body/$name" || return 1
    done <"$1/containers"
}

# Sends a request whose JSON is on stdin. Prints the id in the answer; the engine's message, when it is no success: 1.
ask_engine() { # PATH
    cat >"$scratch/json"
    rm -f "$scratch/pipe"
    mkfifo "$scratch/pipe" || return 1
    {
        # its stdin stays open until it has answered: where it ends, the engine cancels the request
        ask docker system dial-stdio <"$scratch/pipe" >"$scratch/answer" &
        {
            printf 'POST %s HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n' "$1"
            printf 'Content-Length: %s\r\n\r\n' "$(wc -c <"$scratch/json" | tr -d ' ')"
            cat "$scratch/json"
        } >&8
        wait $!
    } 8<>"$scratch/pipe"
    rm -f "$scratch/pipe"
    case $(head -n 1 "$scratch/answer") in
        'HTTP/1.1 2'*) sed -n 's/.*"Id":"\([^"]*\)".*/\1/p' "$scratch/answer"; return ;;
    esac
    sed -n 's/.*"message":"\(.*\)".*/\1/p' "$scratch/answer" | head -n 1
    return 1
}

# Makes those of FOLDER that are gone, removes the project's others, and lets run what ran. Exit code 1: one could not
# be made or started.
make_again() { # FOLDER
    project_containers --all >"$scratch/there" || return 1
    cut -f1 "$1/containers" >"$scratch/wanted_ids"
    strangers=$(grep -vxFf "$scratch/wanted_ids" "$scratch/there")
    # shellcheck disable=SC2086
    [ -z "$strangers" ] || { docker stop $strangers && docker rm $strangers; } || return 1
    while IFS=$tab read -r name json; do
        docker network inspect "$name" >/dev/null 2>&1 || make_network "$json" || return 1
    done <"$1/networks"
    LC_ALL=C sort -t "$tab" -k 4,4 "$1/containers" >"$scratch/to_make"
    while IFS=$tab read -r id name status _ image image_name _ network _; do
        ! grep -qxF "$id" "$scratch/there" || continue
        make_one "$1" "$id" "$name" "$image" "$image_name" "$network" && continue
        case $status in running | restarting | paused) return 1 ;; esac
        printf '%s did not run, and could not be made again\n' "$name"
    done <"$scratch/to_make"
    # by now with the ids of those that were made
    LC_ALL=C sort -t "$tab" -k 4,4 "$1/containers" >"$scratch/to_make"
    awk -F"$tab" '$3 !~ /^(running|restarting)$/ { print $1 }' "$scratch/to_make" >"$scratch/resting"
    while IFS=$tab read -r id name status _ _ _ depends _ _; do
        let_run "$id" "$name" "$status" "$depends" </dev/null || return 1
    done <"$scratch/to_make"
}

make_network() { # JSON: with other addresses where somebody has taken those meanwhile
    printf '%s' "$1" | ask_engine /networks/create ||
        printf '%s,"IPAM":{"Config":null}}' "${1%\}}" | ask_engine /networks/create
}

make_one() { # FOLDER ID NAME IMAGE IMAGE-NAME NETWORK
    more='' connected=''
    # the name may lead to another image by now
    [ "$(docker image inspect --format '{{.Id}}' "$5" 2>/dev/null)" = "$4" ] || more=",\"Image\":\"$4\""
    while IFS=$tab read -r to json; do
        [ "$to" != "$6" ] || { connected=$to more="$more,\"NetworkingConfig\":{\"EndpointsConfig\":{\"$to\":$json}}"; }
    done <"$1/endpoint/$3"
    made=$({ tr -d '\n' <"$1/body/$3"; printf '%s}' "$more"; } | ask_engine "/containers/create?name=$3") || {
        printf '%s: %s\n' "$3" "$made"
        return 1
    }
    case $6 in host | none | container:*) ;; *)
        while IFS=$tab read -r to json; do
            [ "$to" != "$connected" ] || continue
            printf '{"Container":"%s","EndpointConfig":%s}' "$made" "$json" |
                ask_engine "/networks/$to/connect" || return 1
        done <"$1/endpoint/$3" ;;
    esac
    # others may live in its namespaces
    for file in "$1/containers" "$1"/body/*; do
        grep -qF "$2" "$file" || continue
        sed "s/$2/$made/g" "$file" >"$scratch/renewed" && save "$file" <"$scratch/renewed" || return 1
    done
    printf '%s is made again as it was\n' "$3"
}

let_run() { # ID NAME STATUS DEPENDS
    is=$(docker inspect --format '{{.State.Status}}' "$1" 2>/dev/null)
    case $3 in
        running | restarting | paused)
            [ "$is" != paused ] || [ "$3" = paused ] || docker unpause "$1" || return 1
            case $is in
                running | restarting | paused) ;;
                *) wait_for_dependencies "$4"; docker start "$1" || return 1 ;;
            esac
            [ "$3" != paused ] || [ "$is" = paused ] || docker pause "$1" ;;
        *) case $is in running | restarting | paused) docker stop "$1" || return 1 ;; esac ;;
    esac
}

wait_for_dependencies() { # DEPENDS: those that have to be healthy, each as long as it may take
    printf '%s\n' "$1" | tr , '\n' | sed -n 's/^\([^:]*\):service_healthy.*/\1/p' | while read -r service; do
        ids=$(service_containers "$service")
        [ -n "$ids" ] || continue
        wait_until=$(($(whole_uptime) + $(own_time "$service" "$ids")))
        # shellcheck disable=SC2086
        while docker inspect --format "$health_of" $ids 2>/dev/null | grep -qx starting &&
            [ "$(whole_uptime)" -lt "$wait_until" ]; do sleep "$pause"; done
    done
}
