"""Why a step of a plan is to be made: the ports, networks and routers that need it, named for people."""

from weft.fabric.config import Attachment
from weft.fabric.intent_index import FabricIntent
from weft.fabric.plan import (
    AddAttachment,
    AddSegment,
    AddVrf,
    ChangeGatewayMac,
    ChangeSegment,
    ChangeUnderlay,
    ChangeVrf,
    Reasons,
    SetUnderlay,
    Step,
)
from weft.model.ids import NetworkId, NodeName, SwitchName
from weft.model.intent import Binding

MAX_NAMED = 2
"""A reason names at most this many things and counts the rest."""


def reasons(intent: FabricIntent, switch: SwitchName) -> Reasons:
    """Return what tells the reason of a step on a switch. Costs nothing until it is asked."""
    network_of: dict[int, NetworkId] = {}
    node_at: dict[str, NodeName] = {}

    def by_vni(vni: int) -> NetworkId | None:
        if not network_of:
            for network_id in intent.networks_on(switch):
                found = intent.segment(network_id)
                if found is not None:
                    network_of[found[0].vni] = network_id
        return network_of.get(vni)

    def ports_behind(attachment: Attachment) -> str:
        if not node_at:
            node_at.update({link.interface: link.node for link in intent.topology.node_links(switch)})
        network_id, node = by_vni(attachment.vni), node_at.get(attachment.interface)
        return "" if network_id is None or node is None else _ports(intent, intent.bindings_at(node, network_id))

    def reason(step: Step) -> str:
        match step:
            case SetUnderlay() | ChangeUnderlay() | ChangeGatewayMac():
                return "inventory"
            case AddVrf(vrf) | ChangeVrf(_, vrf):
                return _vrf(intent, switch, vrf.name)
            case AddSegment(segment) | ChangeSegment(_, segment):
                network_id = by_vni(segment.vni)
                return _ports(intent, intent.bindings_of(switch, network_id)) if network_id is not None else ""
            case AddAttachment(attachment):
                return ports_behind(attachment)
            case _:
                return "no port needs it" if step.op == "remove" else ""

    return reason


def _vrf(intent: FabricIntent, switch: SwitchName, vrf: str) -> str:
    networks = [
        network_id
        for network_id in intent.networks_on(switch)
        if (found := intent.segment(network_id)) is not None and found[0].vrf == vrf
    ]
    if not networks:
        return ""
    router = intent.routers_of(networks[0])[0]
    names = [network.name or network.id for network in map(intent.network, networks) if network is not None]
    return f"router {router.name or router.id}, {_counted('network', names)}"


def _ports(intent: FabricIntent, bindings: list[Binding]) -> str:
    names = []
    for binding in bindings[:MAX_NAMED]:
        port = intent.port(binding.port_id)
        names.append(f"{(port.name if port is not None else '') or binding.port_id} on {binding.node}")
    return _counted("port", names, len(bindings))


def _counted(noun: str, names: list[str], count: int | None = None) -> str:
    count = len(names) if count is None else count
    shown = names[:MAX_NAMED]
    rest = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{noun}{'s' if count > 1 else ''} {', '.join(shown)}{rest}"
