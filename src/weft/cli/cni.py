"""`weft cni`."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from weft.cli.manual import Group
from weft.cni import COMPILED
from weft.cni import plugin as plugin_file
from weft.model.errors import Invalid, Permanent

CHAINED: Mapping[str, Mapping[str, object]] = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
}
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


@click.group(
    cls=Group,
    examples=(
        (
            "weft cni install --network pods --cluster prod",
            "On a node whose agent has a `cni_socket`: plugin and conflist.",
        ),
        ("weft cni check --ask", "Then: is all there that a pod needs, and may the agent follow the cluster?"),
    ),
)
def cni() -> None:
    """The CNI plugin: containers get their ports from weft, and keep them when they move to another node."""


@cni.command()
@click.option("--bin-dir", type=click.Path(path_type=Path), default="/opt/cni/bin", show_default=True)
@click.option("--conf-dir", type=click.Path(path_type=Path), default="/etc/cni/net.d", show_default=True)
@click.option("--name", default="weft", show_default=True, help="What the runtime calls the network.")
@click.option("--cluster", default="", help="What the names of its workloads begin with; else --name.")
@click.option("--network", help="The network that containers are in.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Or any network with these labels.")
@click.option("--project", help="The tenant that owns the ports.")
@click.option("--socket", "socket_path", default="/run/weft/cni.sock", show_default=True, help="The agent's.")
@click.option("--chain", "chained", type=click.Choice(tuple(CHAINED)), multiple=True, help="Plugins to call after it.")
@click.option("--node-path", is_flag=True, help="The node itself reaches its containers, as a kubelet's probes do.")
@click.option("--cni-version", type=click.Choice(VERSIONS), default="1.0.0", show_default=True)
def install(
    *,
    bin_dir: Path,
    conf_dir: Path,
    name: str,
    cluster: str,
    network: str | None,
    labels: tuple[str, ...],
    project: str | None,
    socket_path: str,
    chained: tuple[str, ...],
    node_path: bool,
    cni_version: str,
) -> None:
    """Write the plugin, and the configuration by which a container runtime calls it."""
    if bool(network) == bool(labels):
        raise click.UsageError("say which network containers are in: --network NAME, or --label KEY=VALUE")
    if "/" in cluster:
        raise Invalid(f"--cluster '{cluster}' has a /, which parts the names of its workloads: cluster/namespace/pod")
    chosen = dict(pair.partition("=")[::2] for pair in labels)
    if any("=" not in pair for pair in labels):
        raise Invalid("a label is KEY=VALUE")
    plugin: dict[str, object] = {"type": "weft-cni", "socket": socket_path}
    given = {
        "cluster": cluster,
        "network": network,
        "networkLabels": chosen,
        "project": project,
        "chained": list(chained),
        "nodePath": node_path,
    }
    plugin |= {key: value for key, value in given.items() if value}
    plugin["capabilities"] = {"io.kubernetes.cri.pod-annotations": True}
    document = {"cniVersion": cni_version, "name": name, "plugins": [plugin, *(CHAINED[each] for each in chained)]}
    source = plugin_file()
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        conf_dir.mkdir(parents=True, exist_ok=True)
        _replace(bin_dir / "weft-cni", source.read_bytes(), 0o755)
        _replace(conf_dir / f"10-{name}.conflist", (json.dumps(document, indent=2) + "\n").encode(), 0o644)
    except OSError as error:
        raise Permanent(f"cannot write {error.filename}: {error.strerror}") from None
    kind = "compiled" if source == COMPILED else "in Python: without a C compiler, each call takes 5 ms more"
    click.echo(f"{bin_dir / 'weft-cni'} ({kind}) and {conf_dir / f'10-{name}.conflist'} are in place")


@cni.command()
@click.option("--config", type=click.Path(path_type=Path), default="/etc/weft/agent.toml", show_default=True)
@click.option("--bin-dir", type=click.Path(path_type=Path), default="/opt/cni/bin", show_default=True)
@click.option("--conf-dir", type=click.Path(path_type=Path), default="/etc/cni/net.d", show_default=True)
@click.option("--before-agent", is_flag=True, help="The agent need not run yet.")
@click.option("--ask", is_flag=True, help="Ask the cluster's API server, too, for what the agent asks for.")
def check(*, config: Path, bin_dir: Path, conf_dir: Path, before_agent: bool, ask: bool) -> None:
    """Say what of a node's settings, plugin and configuration would keep its containers from getting ports.

    It reads files and knocks at the agent's socket; it changes nothing. The exit status is 1 if anything is wrong.
    """
    from weft.cli.cni_check import findings  # noqa: PLC0415 - only this command needs the agent's settings

    good = True
    for is_good, text in findings(config, bin_dir, conf_dir, before_agent=before_agent, ask=ask):
        good = good and is_good
        click.echo(f"{'ok   ' if is_good else 'wrong'}  {text}")
    if not good:
        raise SystemExit(1)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole: a runtime may call the plugin at any moment."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(path)
