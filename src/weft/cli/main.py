"""The top of `weft`: what there is, in the order in which one meets it."""

import click

from weft import __version__
from weft.cli.failure import guarded
from weft.cli.manual import Entry, LazyGroup

SECTIONS = {
    "Run": {
        "server": Entry("weft.cli.server:server", "Run the server: API and controllers, in one process"),
        "agent": Entry("weft.cli.agent:agent", "Run the agent of one node"),
        "cni": Entry("weft.cli.cni:cni", "Give containers their ports: install the CNI plugin on a node"),
        "lab": Entry("weft.cli.lab:lab", "Build a data centre on this machine, from real parts"),
        "db": Entry("weft.cli.db:db", "Upgrade or check a server's database"),
    },
    "Ask for": {
        "network": Entry("weft.cli.network:network", "Networks: one L2 segment each"),
        "subnet": Entry("weft.cli.subnet:subnet", "Subnets: the addresses of a network"),
        "router": Entry("weft.cli.router:router", "Routers: a tenant's routing domain (VPC)"),
        "plan": Entry("weft.cli.plan:plan", "The address plan: delegate, resize, move, free, import prefixes"),
        "port": Entry("weft.cli.port:port", "Ports: an instance's name, MAC and addresses; bind, move, watch them"),
    },
    "Look at": {
        "ipam": Entry("weft.cli.ipam:ipam_group", "Addresses: check, forecast, policies, reservations, blocks"),
        "status": Entry("weft.cli.status:status", "The server at a glance: ports per state, agents, switches"),
        "node": Entry("weft.cli.node:node", "Nodes, their agents, and what each shall carry"),
        "switch": Entry("weft.cli.switch:switch", "Switches and whether each is what it shall be"),
        "fabric": Entry("weft.cli.fabric:fabric", "The fabric as a whole: status, and the plan of what would change"),
        "inventory": Entry("weft.cli.inventory:inventory", "Sites, switches, nodes and cables: show, check, apply"),
    },
}

EXAMPLES = (
    ("weft lab up examples/small-dc.toml", "Two spines, three leaves, three nodes, one bare-metal server, in seconds."),
    ("weft network create web && weft subnet create web 10.0.1.0/24", "A network with addresses."),
    ("weft port create web --name web-1 --node node1 --wait", "An address on a node; returns when packets flow."),
    ("weft port bind web-1 node2 --wait", "Move it: same address, same MAC, a new epoch."),
    ("weft port show web-1", "Its state, who has realized what, and every step with its time."),
    ("weft fabric plan", "What the controller would change on which switch, and why."),
)

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, sections=SECTIONS, examples=EXAMPLES, context_settings=HELP)
@click.version_option(__version__, "-V", "--version", message="weft %(version)s")
def weft() -> None:
    """One network control plane for private and public cloud.

    Every instance has a port with an address that is its own for life. weft makes that address reachable: in the
    host, in the switches, in the cloud.

    Commands that ask a server find it by --server, else WEFT_SERVER, else ~/.config/weft/client.toml, else
    /run/weft/client.toml (which a lab writes), else http://127.0.0.1:9696. They print tables for people, and JSON with
    --json. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the server is away or busy.
    """


def main() -> None:
    """Run the command line."""
    guarded(lambda: weft.main(prog_name="weft", standalone_mode=False))
