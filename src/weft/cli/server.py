"""`weft server`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.model.errors import Invalid

if TYPE_CHECKING:
    from weft.kubernetes.settings import ClusterSettings


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file; its keys are these options' names.")
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="HOST:PORT, unix:/PATH or fd:N; repeatable. 127.0.0.1:9696 if left out.",
)
@click.option("--processes", type=int, metavar="N", help="Processes that serve the API; one for each core is best.")
@click.option(
    "--db", metavar="URL", help="sqlite:////PATH or postgresql://USER@HOST/DATABASE; made and upgraded as needed."
)
@click.option("--token-file", metavar="PATH", help="Tokens, one a line; alone on it, it is an administrator's.")
@click.option("--tls-certificate", metavar="PATH", help="The certificate of TCP sockets; without it they speak HTTP.")
@click.option("--tls-key", metavar="PATH", help="The certificate's key.")
@click.option("--tls-client-ca", metavar="PATH", help="Authorities of the certificates that nodes show.")
@click.option("--switch-key", metavar="PATH", help="The SSH private key that the switches accept.")
@click.option("--eapi-password-file", metavar="PATH", help="The password of `eapi_user` on switches that run EOS.")
@click.option("--eapi-ca", metavar="PATH", help="Authorities of those switches' certificates.")
@click.option("--controllers/--no-controllers", default=None, help="Whether the controllers may run here, too.")
@click.option(
    "--kubernetes",
    multiple=True,
    metavar="NAME=KUBECONFIG",
    help="A cluster whose deleted objects let go of their ports; repeatable. More of it: [[kubernetes]] in the file.",
)
@click.option("--check", is_flag=True, help="Say what the settings come to, and end.")
@click.option("--project", metavar="NAME", help="Owner of what is created by a request that names no tenant.")
def server(config: Path | None, check: bool, kubernetes: tuple[str, ...], **flags: object) -> None:
    """Run the server: the API and the controllers, until it is told to stop.

    Without --token-file, or another credential in the file of --config, it listens on loopback and unix sockets only,
    and takes everybody for an administrator. Whoever may open its unix socket is one in any case.
    """
    from weft.api.server import run  # noqa: PLC0415 - a command that does not serve need not load a server
    from weft.api.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config, flags | {"kubernetes": [_cluster(each) for each in kubernetes] or None})
    if check:
        _say_clusters(settings.kubernetes)
    else:
        run(settings)


def _cluster(text: str) -> dict[str, str]:
    name, separator, kubeconfig = text.partition("=")
    if not (name and separator and kubeconfig):
        raise Invalid(f"--kubernetes '{text}' is not NAME=KUBECONFIG")
    return {"name": name, "kubeconfig": kubeconfig}


def _say_clusters(clusters: "tuple[ClusterSettings, ...]") -> None:
    """Say how each cluster is reached; only files are read. Raises Invalid for the first that cannot be."""
    if clusters:
        from weft.kubernetes.access import described  # noqa: PLC0415 - it loads a client of Kubernetes
    for each in clusters:
        click.echo(f"cluster {each.name}: {described(each)}")
    click.echo("the settings are good")
