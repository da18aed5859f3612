"""``hookreel``: the commands, each imported only when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from service.embedded import StoreError
from service.errors import HookreelError, SettingsError

_COMMANDS = {
    "clock": "service.cli.roles",
    "deliveries": "service.cli.deliveries",
    "demo": "service.cli.demo",
    "endpoints": "service.cli.endpoints",
    "events": "service.cli.events",
    "forwarder": "service.cli.roles",
    "jobs": "service.cli.jobs",
    "keys": "service.cli.keys",
    "listen": "service.cli.listen",
    "repair": "service.cli.repair",
    "replays": "service.cli.replays",
    "reseal": "service.cli.reseal",
    "sandbox": "service.cli.roles",
    "serve": "service.cli.roles",
    "up": "service.cli.up",
    "worker": "service.cli.roles",
}


class _Commands(click.Group):
    """Finds a command in its module, and tells our own errors as sentences instead of tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names it
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise _Misconfigured("\n       ".join(error.problems)) from error
        except (HookreelError, StoreError) as error:
            raise click.ClickException(str(error)) from error


class _Misconfigured(click.ClickException):
    exit_code = 2


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookreel", message="%(version)s")
def cli() -> None:
    """Submit a video job once; have the signed result pushed to everybody who subscribed."""


if __name__ == "__main__":
    cli(prog_name="hookreel")
