#!/bin/sh
# login_env.sh: keeps variables of the login from winning over a stack's .env, as they do with Compose. A function only:
# start.sh sources it; drift.sh and the rendering of a model are sent with it in front.

# Prints `-u NAME` for each variable that one of the .env FILEs sets, for `env`. What the login and Docker themselves
# need stays, and COMPOSE_…: the scripts unset those of the login, and set their own.
without_variables_of() { # FILE…
    cat -- "$@" 2>/dev/null |
        sed -n 's/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}\([A-Za-z_][A-Za-z0-9_]*\)[[:space:]]*[=:].*/\2/p' |
        sort -u | while IFS= read -r name; do
        case $name in
            PATH | HOME | USER | LOGNAME | SHELL | PWD | OLDPWD | TMPDIR | LANG | LC_*) ;;
            COMPOSE_* | DOCKER_* | XDG_*) ;;
            *) printf '%s %s ' -u "$name" ;;
        esac
    done
}
