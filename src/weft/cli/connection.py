"""The options that every command which asks a server has, and what it gets of them: a client and a way to print."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from weft.cli.output import Output
from weft.client import Client, TlsFiles, find_context


def asks_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a server, and ``--json``; call it with a Client and an Output first."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.option("--server", metavar="URL", help="http://HOST:PORT, https://HOST:PORT or unix:/PATH.")
    @click.option("--token", metavar="TOKEN", help="Better set as WEFT_TOKEN: others can see a command line.")
    @click.option("--ca-file", metavar="PATH", help="Authorities of an https server's certificate; else the system's.")
    @click.option("--certificate-file", metavar="PATH", help="A certificate to show to an https server.")
    @click.option("--key-file", metavar="PATH", help="The certificate's key, if it stands in a file of its own.")
    @wraps(command)
    def run(
        *args: Any,
        as_json: bool,
        server: str | None,
        token: str | None,
        ca_file: str | None,
        certificate_file: str | None,
        key_file: str | None,
        **kwargs: Any,
    ) -> None:
        context = find_context(server, token, TlsFiles(ca_file, certificate_file, key_file))
        with Client(context.server, context.token, tls=context.tls) as client:
            command(client, Output(as_json=as_json), *args, **kwargs)

    return run
