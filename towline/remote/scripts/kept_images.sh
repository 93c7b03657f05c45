#!/bin/sh
# kept_images.sh: the names of the images that releases are kept with. Functions only: runner.sh sources it, prune.sh is
# sent with it in front.

# Prints `towline/PROJECT/SERVICE:RELEASE`. In an image's name Docker takes lower case only, and `.`, `_`, `__` or some
# `-` between letters and digits: another name is written in hexadecimal behind two underscores.
kept_image() { # PROJECT SERVICE RELEASE
    printf 'towline/%s/%s:%s\n' "$(image_part "$1")" "$(image_part "$2")" "$3"
}

image_part() { # NAME
    case $1 in
        *[!abcdefghijklmnopqrstuvwxyz0123456789._-]* | [._-]* | *[._-] | *[._][._-]* | *-[._]*)
            printf 'name__%s\n' "$(printf '%s' "$1" | od -A n -v -t x1 | tr -d ' \n')" ;;
        *) printf '%s\n' "$1" ;;
    esac
}
