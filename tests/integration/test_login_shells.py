"""What is sent through a login shell arrives in sh as it is, whatever that shell makes of quotes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from towline.commands.shell import for_login_shell, script
from towline.remote import COMPARISON
from towline.remote import script as remote_script

WORDS = [
    "it's",
    "$HOME",
    "a  b",
    "!x",
    "!!",
    "*",
    "back\\slash",
    "\\n\\c",
    "new\nline",
    "\r",
    "ümläut",
    "",
    "`id`",
    '"q"',
    "%d",
]
SHELLS = [name for name in ("dash", "bash", "busybox", "tcsh", "csh", "fish", "zsh", "mksh") if shutil.which(name)]


@pytest.mark.parametrize("name", SHELLS)
def test_words_pass_a_login_shell_as_they_are(name: str) -> None:
    shell = (name, "sh") if name == "busybox" else (name,)
    line = for_login_shell(("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "-", *WORDS))
    done = subprocess.run((*shell, "-c", line), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == WORDS


# A shell that takes its line apart as csh does, as far as that ends in an error: what is quoted ends with the line, and a `!`
# is history even inside quotes.
LIKE_CSH = r"""
[ "$1" = -c ] || exit 2
case $2 in
    *'
'*) echo "Unmatched '''." >&2; exit 1 ;;
    *'!'*) echo "Event not found." >&2; exit 1 ;;
esac
exec sh -c "$2"
"""


def test_scripts_have_nothing_that_csh_stumbles_over(tmp_path: Path) -> None:
    shell = tmp_path / "csh"
    shell.write_text(f"#!/bin/sh{LIKE_CSH}")
    shell.chmod(0o755)
    line = for_login_shell(script(remote_script("runs", "state"), str(tmp_path), "it's!"))
    done = subprocess.run((shell, "-c", line), capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    assert b"live\tno\n" in done.stdout


def test_longest_script_fits_into_one_argument() -> None:
    assert len(for_login_shell(script(remote_script(*COMPARISON, "survey"), "/srv"))) < 100_000  # Linux takes 131072
