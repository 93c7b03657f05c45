"""Which host is meant: the one named, else the default one, else the sandbox."""

from __future__ import annotations

from towline.errors import UsageError
from towline.project.settings import SANDBOX, Host, Settings


def choose_host(settings: Settings, name: str | None = None) -> Host:
    """The host of that name; without a name the default one; the sandbox where no host is configured at all.

    Raises SettingsError for an unknown name, UsageError when it comes to the sandbox and that does not run.
    """
    name = name or settings.default_host
    if name in settings.hosts or (settings.hosts and name != SANDBOX) or (name and name != SANDBOX):
        return settings.host(name)
    return _sandbox(settings)


def _sandbox(settings: Settings) -> Host:
    from towline import sandbox

    running = sandbox.read_status()
    if running is None:
        why = "it is what is meant" if settings.hosts else "no other host is configured"
        raise UsageError(
            f"the sandbox does not run, and {why}",
            "`inv sandbox.up` starts a server here to try towline on; a real one is named in towline.yaml",
        )
    return running.host()
