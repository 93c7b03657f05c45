"""A .env → its variables, as Compose reads it."""

from __future__ import annotations

from pathlib import Path

from towline.errors import SettingsError


def load_env(file: Path) -> dict[str, str]:
    """The variables of a .env that mentions SSH_HOST; nothing of any other, so that it costs no import.

    Raises SettingsError for a file that cannot be read or is not UTF-8.
    """
    if not file.is_file():
        return {}
    try:
        text = file.read_bytes()
        return read_env(text) if b"SSH_HOST" in text else {}
    except OSError as e:
        raise SettingsError(f"{file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8 text") from None


def read_env(text: bytes) -> dict[str, str]:
    """The variables in the bytes of a .env, nothing interpolated. Raises UnicodeDecodeError."""
    import io
    import logging

    from dotenv import dotenv_values

    # Compose's dialect has lines that dotenv does not know: they are Compose's to complain about, not ours.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    values = dotenv_values(stream=io.StringIO(text.decode("utf-8-sig")), interpolate=False)
    return {key: value or "" for key, value in values.items()}
