"""The options that every command which asks a server has, and what it gets of them: a client and a way to print."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from weft.cli.output import Output
from weft.client import Client, find_context


def asks_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--server``, ``--token`` and ``--json``, and call it with a Client and an Output first."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.option("--server", metavar="URL", help="http://HOST:PORT, https://HOST:PORT or unix:/PATH.")
    @click.option("--token", metavar="TOKEN", help="Better set as WEFT_TOKEN: others can see a command line.")
    @wraps(command)
    def run(*args: Any, as_json: bool, server: str | None, token: str | None, **kwargs: Any) -> None:
        context = find_context(server, token)
        with Client(context.server, context.token, ca_file=context.ca_file) as client:
            command(client, Output(as_json=as_json), *args, **kwargs)

    return run
