"""The variables of a .env file, as Compose reads it."""

from __future__ import annotations

from pathlib import Path

from towline.errors import SettingsError


def load_env(file: Path) -> dict[str, str]:
    """The variables of a .env file that mentions SSH_HOST; of any other none, which saves the import of dotenv.

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
    """The variables in the bytes of a .env file, not interpolated. Raises UnicodeDecodeError."""
    import io
    import logging

    from dotenv import dotenv_values

    # Compose accepts lines that dotenv warns about; what is really wrong, Compose reports.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    values = dotenv_values(stream=io.StringIO(text.decode("utf-8-sig")), interpolate=False)
    return {key: value or "" for key, value in values.items()}
