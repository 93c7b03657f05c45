# install.sh, sourced by ../inv: creates $venv and installs the project in the folder $top into it.
# shellcheck shell=sh disable=SC2154

stop() { echo "inv: $1" >&2; echo "  $2" >&2; exit 1; }

python=''
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "$python" ] || stop "Python 3.11 or newer is needed" "Debian, Ubuntu: apt-get install python3 python3-venv"

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # On Debian, ensurepip is in a package of its own, named after the version.
    package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    remedy="apt-get update && apt-get install -y --no-install-recommends $package"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "inv: installing $package" >&2
        output=$({ apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package"; } 2>&1) ||
            stop "$package could not be installed: $(echo "$output" | tail -n 3)" "$remedy"
    else
        stop "this Python has no ensurepip, so it cannot create a .venv; run as root" "$remedy"
    fi
fi

echo "inv: installing towline into .venv" >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || stop ".venv could not be created" "$python -m venv $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$top" ||
    stop "the packages could not be installed" "$venv/bin/python -m pip install --editable $top"
: >"$venv/.ready"
