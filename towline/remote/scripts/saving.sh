#!/bin/sh
# saving.sh: writes files so that they are whole or not there, after a full disk and a power cut, too. Functions only:
# runner.sh sources it, receive.sh is sent with it in front.
#
# The last command of a pipeline that writes a file is `cat`, here and in what uses this: busybox's awk, sort, sed, grep
# and cut end with 0 on a full disk, cat does not.

save() { # FILE <text. Exit code 1: FILE is as it was
    if cat >"$1.new" && sync_file "$1.new" && mv -f -- "$1.new" "$1"; then return; fi
    rm -f -- "$1.new"
    return 1
}

sync_file() { sync "$1" 2>/dev/null || sync; }      # FILE. An old `sync` takes no file

sync_disk() { sync -f "$1" 2>/dev/null || sync; }   # PATH: all that was written to the file system that it lies on
