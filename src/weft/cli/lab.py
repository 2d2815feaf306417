"""`weft lab`."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.lab_view import print_status
from weft.cli.manual import Group
from weft.cli.output import Output

if TYPE_CHECKING:
    from weft.client import AsyncClient

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
lab_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(
    cls=Group,
    examples=(
        ("weft lab up examples/small-dc.toml", "Builds it; returns when every switch and agent is in place."),
        ("weft lab exec leaf1 vtysh -c 'show evpn vni'", "A command on a switch; or on a node, or in an instance."),
        ("weft port create web --name web-1 --node node1", "A port, as a cloud's software makes it;"),
        ("weft lab instance add web-1", "and the instance, as a hypervisor makes it."),
        ("weft lab generate --spines 4 --leaves 16 >big.toml", "The file of a bigger one."),
        ("weft lab hops", "What a packet passes between two networks of a node, beside the classic design."),
        ("weft lab kill leaf1/bgpd", "A fault; see `weft lab status` for what can be killed."),
        ("weft lab down", "Removes every trace, also of a lab that was killed."),
    ),
)
def lab() -> None:
    """A data centre on this machine, from real parts: FRR switches, Open vSwitch nodes, server and agents.

    The lab does what cabling, power button, installer and hypervisor do; all else comes from the server and its agents.
    Needs root, and what scripts/setup installs.
    """


@lab.command()
@lab_file
@json_option
def up(file: Path, as_json: bool) -> None:
    """Build the data centre of FILE: an inventory with a [lab] table.

    Returns when every switch is in sync, every BGP session is established and every agent is connected.
    """
    from weft.lab.progress import Progress  # noqa: PLC0415 - `weft lab --help` needs none of the lab
    from weft.lab.up import up as build  # noqa: PLC0415

    progress = Progress(lambda milestone: click.echo(str(milestone), err=as_json))
    built = asyncio.run(build(file, progress))
    if as_json:
        milestones = [{"after_s": each.after_s, "text": each.text} for each in progress.milestones]
        Output(as_json=True).json({"id": built.id, "up_after_s": built.up_after_s, "milestones": milestones})
        return
    click.echo(f"the lab is up after {progress.elapsed_s:.1f} s; `weft lab status` shows it, `weft status` its server")


@lab.command()
@click.option("--spines", type=int, default=4, show_default=True)
@click.option("--leaves", type=int, default=16, show_default=True)
@click.option("--nodes", type=int, default=1, show_default=True, help="Nodes on each leaf.")
def generate(spines: int, leaves: int, nodes: int) -> None:
    """Print the FILE of a spine-leaf data centre of any size."""
    from weft.lab.generate import spine_leaf  # noqa: PLC0415

    click.echo(spine_leaf(spines, leaves, nodes_per_leaf=nodes), nl=False)


@lab.command()
def down() -> None:
    """Remove the lab: processes, namespaces, mounts, files. Safe after a kill -9 of anything."""
    from weft.lab.down import down as remove  # noqa: PLC0415
    from weft.lab.progress import Progress  # noqa: PLC0415

    progress = Progress(lambda milestone: click.echo(str(milestone)))
    if asyncio.run(remove(progress)) is None:
        click.echo("no lab is up on this machine")
    else:
        click.echo(f"the lab is gone after {progress.elapsed_s:.1f} s")


@lab.command()
@json_option
def status(as_json: bool) -> None:
    """Show what the lab is made of, and whether it still stands."""
    from weft.lab.status import status as look  # noqa: PLC0415

    found, output = asyncio.run(look()), Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    print_status(output, found)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec(name: str, command: tuple[str, ...]) -> None:  # noqa: A001 - it is the command's name
    """Run COMMAND (a shell if left out) on switch, node or instance NAME."""
    from weft.lab import reach, state  # noqa: PLC0415

    reach.become(reach.argv_in(state.load(), name, command or ("sh",)))


@lab.command()
@click.argument("name")
@click.option(
    "--signal", "signal_name", default="KILL", show_default=True, help="Another signal, such as STOP or TERM."
)
def kill(name: str, signal_name: str) -> None:
    """Kill a process of the lab (node1/agent, leaf1/bgpd, server), or switch a switch off."""
    from weft.lab import power  # noqa: PLC0415

    try:
        sent = signal.Signals[f"SIG{signal_name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise click.BadParameter(f"'{signal_name}' is no signal", param_hint="--signal") from None
    asyncio.run(power.kill(name, sent))


@lab.command()
@click.argument("name")
def start(name: str) -> None:
    """Start a process of the lab, or a switch, that does not run."""
    from weft.lab import power  # noqa: PLC0415

    asyncio.run(power.start(name))


@lab.command()
@click.argument("name")
def restart(name: str) -> None:
    """End a process of the lab, or switch a switch off, and start it again."""
    from weft.lab import power  # noqa: PLC0415

    asyncio.run(power.restart(name))


@lab.command()
@lab_file
@click.option("--keep", is_flag=True, help="Leave the data centre running, with its instances.")
def demo(file: Path, keep: bool) -> None:
    """Build the data centre of FILE, spawn, prove, move, delete; succeed only if every claim was observed."""
    from weft.lab.demo.scenario import run  # noqa: PLC0415

    if not asyncio.run(run(file, keep=keep)):
        sys.exit(1)


@lab.command()
@click.argument("instances", metavar="[ONE OTHER]", nargs=-1)
@click.option("--node", help="Where to compare; the first OVS node, if left out.")
@json_option
def hops(instances: tuple[str, ...], node: str | None, as_json: bool) -> None:
    """Follow a packet from instance ONE to OTHER through the live system, device by device, and count the hops.

    Without instances: between two networks of one node, as weft plugs instances and as the classic design does, with a
    Linux bridge for each; what that needs is made and removed again. Every device that a packet passes is one hop; what
    a simulated switch has inside is shown, and not counted.
    """
    from weft.cli.lab_view import path_json, print_comparison, print_path  # noqa: PLC0415
    from weft.lab import state  # noqa: PLC0415
    from weft.lab.hops import Measured, compare, measure  # noqa: PLC0415

    if instances and (len(instances) != 2 or node):
        raise click.UsageError("give two instances, or none (then --node may say where to compare)")
    measured: list[Measured] = []

    async def work(client: "AsyncClient") -> None:
        place = node or next(iter(state.load().ovs_nodes), "")
        measured.extend(await compare(client, place))

    if instances:
        measured.append(asyncio.run(measure(*instances)))
    else:
        _with_client(work)
    output = Output(as_json=as_json)
    if as_json:
        output.json([path_json(each) for each in measured])
    elif instances:
        print_path(output, measured[0])
        output.line(f"ping: p50 {measured[0].latency.p50_ms:.3f} ms, p99 {measured[0].latency.p99_ms:.3f} ms")
    else:
        print_comparison(output, measured)


@lab.group(
    cls=Group,
    examples=(
        ("weft lab instance add web-1", "Start the instance of port web-1 on the node that the port is bound to."),
        ("weft lab instance move web-1 node2", "A live migration; the port is bound to node2 on the way."),
        ("weft lab instance delete web-1", "Stop it; the port stays until `weft port delete`."),
    ),
)
def instance() -> None:
    """Instances: the hypervisor's part. Each is a namespace whose NIC is plugged into its node's br-int."""


@instance.command()
@click.argument("port")
def add(port: str) -> None:
    """Start the instance of a port, on the node that it is bound to."""
    from weft.lab import instances  # noqa: PLC0415
    from weft.lab.vnic import find_vnic  # noqa: PLC0415
    from weft.model.errors import Conflict  # noqa: PLC0415

    async def work(client: "AsyncClient") -> None:
        vnic, node = await find_vnic(client, port)
        if node is None:
            raise Conflict(f"port {port} is on no node yet: `weft port bind {port} NODE` puts it on one")
        started = await instances.plug(node, vnic)
        click.echo(f"{started.name} runs on {started.node} with {', '.join(started.addresses)}")

    _with_client(work)


@instance.command()
@click.argument("name")
@click.argument("node")
def move(name: str, node: str) -> None:
    """Move a running instance to another node."""
    from weft.lab import instances, state  # noqa: PLC0415
    from weft.lab.migration import migrate  # noqa: PLC0415

    async def work(client: "AsyncClient") -> None:
        moved = await migrate(client, instances.find(state.load(), name), node)
        click.echo(f"{moved.name} runs on {moved.node}")

    _with_client(work)


@instance.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def delete(names: tuple[str, ...]) -> None:
    """Stop instances; their ports stay."""
    from weft.lab import instances  # noqa: PLC0415

    async def work() -> None:
        for name in names:
            await instances.unplug(name)

    asyncio.run(work())


@instance.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the instances of the lab."""
    from weft.cli.lab_view import print_instances  # noqa: PLC0415
    from weft.lab import state  # noqa: PLC0415

    found, output = list(state.load().instances.values()), Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    print_instances(output, found)


def _with_client(work: "Callable[[AsyncClient], Awaitable[None]]") -> None:
    from weft.client import AsyncClient, find_context  # noqa: PLC0415

    async def run() -> None:
        context = find_context()
        async with AsyncClient(context.server, context.token, tls=context.tls) as client:
            await work(client)

    asyncio.run(run())
