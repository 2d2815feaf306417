"""New ports: what one is made of, and what several that are made together have in common.

Ports are created by the hundred, so what does not depend on the single port is looked up once for all of a network and
a project (Ground), and their addresses are taken in one go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from weft.intent.addresses import FixedIpSpec, NetworkSubnets, assign, subnets_of, supply
from weft.intent.held import NOTHING, claim
from weft.intent.port_options import AddressPairSpec, DhcpOptionSpec, options_of, pairs_of
from weft.intent.rows import network_of
from weft.intent.security_groups import groups_of_new_port, note_members
from weft.model import steps
from weft.model.addresses import Mac, mac_of
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, NodeName, PortId
from weft.model.intent import FixedIp, HistoryEntry, Network, Port
from weft.ports import lifecycle
from weft.store import PortView, Transaction
from weft.store.transaction import mac_in_use

API = "api"
"""Who acts where no other actor is named."""

ROUTER_INTERFACE = "network:router_interface"
"""The owner of ports that hold the gateway addresses of routers."""

MAC_PREFIX = "fa:16:3e"
"""Of the MACs that weft chooses: the prefix that OpenStack uses."""

MAC_ATTEMPTS = 32
"""MACs tried before a network is taken for full; each is taken with a chance of ports / 2^24."""


class PortSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    network_id: NetworkId
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    mac: Mac | None = None
    fixed_ips: tuple[FixedIpSpec, ...] | None = None
    """None: an address of each family that the network has; empty: none."""
    device_id: str = ""
    device_owner: str = ""
    security_groups: tuple[str, ...] | None = None
    """None: the default group of its project, if port security is enabled."""
    admin_state_up: bool = True
    port_security_enabled: bool | None = None
    """None: as the network says."""
    labels: Mapping[str, str] = {}
    allowed_address_pairs: tuple[AddressPairSpec, ...] = ()
    extra_dhcp_opts: tuple[DhcpOptionSpec, ...] = ()
    dns_name: str = ""
    dns_domain: str = ""
    node: NodeName | None = None
    """Bind in the same transaction."""
    vnic_type: str = "normal"
    profile: Mapping[str, object] = {}


@dataclass(slots=True)
class Ground:
    """What new ports of one project in one network have in common. For one piece of work."""

    network: Network
    subnets: NetworkSubnets
    keeps_names: bool
    """Whether a port's name may have an address kept for it."""
    default_groups: tuple[str, ...] | None = None
    """The groups of a port that names none; None: nobody has asked."""
    addresses: list[tuple[FixedIp, ...]] = field(default_factory=list)
    """Of ports that ask for none, the last one's first."""


def ground_of(tx: Transaction, network_id: NetworkId) -> Ground:
    """Return the ground of new ports in a network; raise NotFound for the network."""
    network = network_of(tx, network_id)
    subnets = subnets_of(tx, network_id)
    return Ground(network, subnets, keeps_names=network.hold_s != 0 or bool(subnets.with_reservations))


def take_for_all(tx: Transaction, ground: Ground, specs: Sequence[PortSpec]) -> None:
    """Take the addresses of all these ports at once, if none of them asks for any of its own."""
    if all(_takes_any(spec, ground) for spec in specs):
        ground.addresses = supply(tx, ground.network.id, ground.subnets.families, len(specs))


def _takes_any(spec: PortSpec, ground: Ground) -> bool:
    named = ground.keeps_names and spec.name
    return spec.fixed_ips is None and not named and spec.device_owner != ROUTER_INTERFACE


def put_new_port(
    tx: Transaction, spec: PortSpec, ground: Ground, *, actor: str, held: tuple[FixedIp, ...] = ()
) -> PortView:
    """Create a port, on no node yet, with what is `held` for it; raises as weft.intent.ports.create_port."""
    network, project_id = ground.network, spec.project_id
    port_id = PortId(tx.new_id())
    now = tx.clock()
    claimed = NOTHING
    if ground.keeps_names:
        claimed = claim(tx, network, project_id, spec.name, spec.fixed_ips)
    wanted = claimed.wanted(spec.fixed_ips, ground.subnets.all) if claimed.ips else spec.fixed_ips
    mac = spec.mac or claimed.mac
    mac = fresh_mac(tx, network.id) if mac is None else free_mac(tx, network.id, mac)
    follows = None if spec.device_owner == ROUTER_INTERFACE else mac
    given = ground.addresses.pop() if ground.addresses else None
    secure = network.port_security_enabled if spec.port_security_enabled is None else spec.port_security_enabled
    port = Port(
        id=port_id,
        network_id=network.id,
        mac=mac,
        fixed_ips=assign(tx, network.id, wanted, held=(*claimed.ips, *held), mac=follows, given=given),
        device_id=spec.device_id,
        device_owner=spec.device_owner,
        admin_state_up=spec.admin_state_up,
        port_security_enabled=secure,
        security_groups=_groups(tx, spec, ground, secure=secure),
        labels=spec.labels,
        allowed_address_pairs=pairs_of(spec.allowed_address_pairs, mac, port_security=secure),
        extra_dhcp_opts=options_of((), spec.extra_dhcp_opts) if spec.extra_dhcp_opts else (),
        dns_name=spec.dns_name,
        dns_domain=spec.dns_domain,
        vnic_type=spec.vnic_type,
        profile=spec.profile,
        project_id=project_id,
        name=spec.name,
        description=spec.description,
        tags=spec.tags,
        created_at=now,
        updated_at=now,
    )
    begun = lifecycle.allocate(port_id, now=now, actor=actor)
    view = PortView(port, begun.life)
    told = HistoryEntry(port_id=port_id, at=tx.asked_at, actor=actor, step=steps.CREATED, detail=_held(port))
    tx.add_port(view, (told, *begun.history))
    if port.security_groups != ground.default_groups:
        note_members(tx, port, None)
    return view


def _groups(tx: Transaction, spec: PortSpec, ground: Ground, *, secure: bool) -> tuple[str, ...]:
    if spec.security_groups is not None or not secure:
        return groups_of_new_port(tx, spec.project_id, spec.security_groups, port_security=secure)
    if ground.default_groups is None:
        ground.default_groups = groups_of_new_port(tx, spec.project_id, None, port_security=True)
    return ground.default_groups


def fresh_mac(tx: Transaction, network_id: NetworkId) -> Mac:
    """Return a MAC of weft's own numbers, which come again only after all 2^24; the unique index guards them."""
    for _ in range(MAC_ATTEMPTS):
        mac = mac_of(MAC_PREFIX, tx.next_serial("mac", 24))
        if not tx.is_careful or not tx.ports(network_id=network_id, mac=mac):
            return mac
    message = f"Unable to generate unique mac on network {network_id}: {MAC_ATTEMPTS} attempts found used ones."
    raise Conflict(message, kind="MacAddressGenerationFailure")


def free_mac(tx: Transaction, network_id: NetworkId, mac: Mac) -> Mac:
    """Return a MAC that no port of the network has; raise Conflict if one has it."""
    if tx.ports(network_id=network_id, mac=mac):
        raise mac_in_use(mac, network_id)
    return mac


def _held(port: Port) -> str:
    return ", ".join(str(ip.address) for ip in port.fixed_ips)
