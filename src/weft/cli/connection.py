"""The options that every command which asks a server has, and what it gets of them: a client and a way to print."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from weft.cli.output import Output
from weft.client import Client, Context, TlsFiles, find_context
from weft.client.openstack import cloud_context, cloud_is_named
from weft.model.errors import Invalid


def asks_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a server, and ``--json``; call it with a Client and an Output first."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.option("--server", metavar="URL", help="http://HOST:PORT, https://HOST:PORT or unix:/PATH.")
    @click.option("--token", metavar="TOKEN", help="Better set as WEFT_TOKEN: others can see a command line.")
    @click.option("--os-cloud", metavar="NAME", help="A cloud of clouds.yaml, whose Keystone gives server and token.")
    @click.option("--ca-file", metavar="PATH", help="Authorities of an https server's certificate; else the system's.")
    @click.option("--certificate-file", metavar="PATH", help="A certificate to show to an https server.")
    @click.option("--key-file", metavar="PATH", help="The certificate's key, if it stands in a file of its own.")
    @wraps(command)
    def run(
        *args: Any,
        as_json: bool,
        server: str | None,
        token: str | None,
        os_cloud: str | None,
        ca_file: str | None,
        certificate_file: str | None,
        key_file: str | None,
        **kwargs: Any,
    ) -> None:
        context = _context(server, token, os_cloud, TlsFiles(ca_file, certificate_file, key_file))
        with Client(context.server, context.token, tls=context.tls) as client:
            command(client, Output(as_json=as_json), *args, **kwargs)

    return run


def _context(server: str | None, token: str | None, cloud: str | None, tls: TlsFiles) -> Context:
    """Return where a command goes: to the cloud that is named, unless weft's own flags or variables name a server."""
    own = server or token or os.environ.get("WEFT_SERVER") or os.environ.get("WEFT_TOKEN")
    if cloud is None and (own or not cloud_is_named(os.environ)):
        return find_context(server, token, tls)
    if token:
        raise Invalid("--os-cloud gets a token from Keystone: leave --token out")
    return cloud_context(cloud or os.environ.get("OS_CLOUD"), server)
