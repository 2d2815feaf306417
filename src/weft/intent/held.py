"""What a port's name keeps when the port is deleted, and gives to the next port of that name.

How long is the network's release policy: not at all, for a time, or for ever. Held addresses rest (see
weft.ipam.pools), so that no allocator of any process gives them out; the record says for whom. An address that is
reserved for a name is the name's before there is any port.
"""

from collections.abc import Iterable
from functools import partial
from urllib.parse import quote

import msgspec

from weft.intent.addresses import FixedIpSpec, let_rest, subnets_of
from weft.intent.rows import changed, network_of
from weft.ipam.reservations import kept_for
from weft.model.addresses import IPAddress, Mac, parse_address
from weft.model.errors import Invalid, NotFound
from weft.model.ids import NetworkId, SubnetId
from weft.model.intent import FixedIp, Network, Port, Subnet
from weft.store import Kind, Snapshot, Transaction

FOREVER = 253402300800.0
"""Unix time of the year 10000: when a rest ends that does not."""

MAX_HOLD_S = 10 * 365 * 86400.0
"""The longest time that a policy may name; longer is for ever."""


class HeldIp(msgspec.Struct, frozen=True):
    """An address that is held, as text, and the subnet it is from."""

    subnet_id: SubnetId
    address: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a deleted port keeps in its network, until a time (Unix seconds; None: for ever)."""

    id: str
    project_id: str
    network_id: NetworkId
    port_name: str
    ips: tuple[HeldIp, ...]
    mac: Mac
    since: float
    until: float | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a new port gets because of its name: addresses taken already, and a MAC."""

    ips: tuple[FixedIp, ...] = ()
    mac: Mac | None = None

    def wanted(
        self, asked: tuple[FixedIpSpec, ...] | None, subnets: Iterable[Subnet]
    ) -> tuple[FixedIpSpec, ...] | None:
        """Return the wishes of a port that has this claim: all of it, and any address of the families it lacks."""
        if asked is not None or not self.ips:
            return asked
        families = {ip.address.version for ip in self.ips}
        wishes = [FixedIpSpec(subnet_id=ip.subnet_id, address=ip.address) for ip in self.ips]
        for subnet in subnets:
            if subnet.cidr.version not in families:
                families.add(subnet.cidr.version)
                wishes.append(FixedIpSpec(subnet_id=subnet.id))
        return tuple(wishes)


NOTHING = Claim()


def claim(
    tx: Transaction, network: Network, project_id: str, name: str, asked: tuple[FixedIpSpec, ...] | None
) -> Claim:
    """Take what the name of a new port keeps in its network; of the addresses only those `asked` for, if any are.

    What the port does not want of it rests like the addresses of any deleted port.
    """
    if not name:
        return NOTHING
    sorted_out = subnets_of(tx, network.id)
    if network.hold_s == 0 and not sorted_out.with_reservations:
        return NOTHING
    subnets = sorted_out.all
    kept = [(subnet, kept_for(subnet, project_id, name)) for subnet in sorted_out.with_reservations]
    reserved = [FixedIp(subnet.id, address) for subnet, address in kept if address is not None]
    held = None if network.hold_s == 0 else tx.record(Kind.HELD_ADDRESS, Held, _id(network.id, project_id, name))
    if held is not None:
        tx.delete_record(Kind.HELD_ADDRESS, held.id)
        if held.until is not None and held.until <= tx.clock():
            held = None
    families = {ip.address.version for ip in reserved}
    found = [] if held is None else _ips(held, subnets)
    # A reservation decides over what the name once had by chance.
    candidates = [*reserved, *(ip for ip in found if ip.address.version not in families)]
    by_id = {subnet.id: subnet for subnet in subnets}
    wanted = [ip for ip in candidates if _is_asked(ip, asked)]
    let_rest(tx, (ip for ip in found if ip not in wanted))
    taken = tuple(ip for ip in wanted if _take(tx, by_id[ip.subnet_id], ip.address))
    return Claim(ips=taken, mac=None if held is None else _free(tx, network.id, held.mac))


def keeps(snapshot: Snapshot, network: Network, project_id: str, name: str, now: float) -> bool:
    """Tell whether a network holds an address for a name, or has one reserved for it."""
    if not name:
        return False
    if any(kept_for(subnet, project_id, name) is not None for subnet in snapshot.subnets(network.id)):
        return True
    held = None if network.hold_s == 0 else snapshot.record(Kind.HELD_ADDRESS, Held, _id(network.id, project_id, name))
    return held is not None and (held.until is None or held.until > now)


def give_up(tx: Transaction, port: Port) -> None:
    """Let the addresses of a deleted port rest, or hold them for its name if that is its network's policy.

    Addresses that follow the MAC come back with it, and are not held.
    """
    network = tx.network(port.network_id)
    named = port.name and port.fixed_ips and not port.device_owner.startswith("network:")
    if network is None or network.hold_s == 0 or not named:
        let_rest(tx, port.fixed_ips)
        return
    id_ = _id(port.network_id, port.project_id, port.name)
    if (older := tx.record(Kind.HELD_ADDRESS, Held, id_)) is not None:
        let_rest(tx, _ips(older, tx.subnets(port.network_id)))
    now = tx.clock()
    until = None if network.hold_s is None else now + network.hold_s
    kept: list[FixedIp] = []
    for ip in port.fixed_ips:
        subnet = tx.subnet(ip.subnet_id)
        assert subnet is not None, "a subnet outlives the addresses that ports have of it"
        if subnet.addresses_follow_macs:
            let_rest(tx, [ip])
        else:
            kept.append(ip)
            tx.rest_address(subnet, ip.address, FOREVER if until is None else until)
    held = Held(
        id=id_,
        project_id=port.project_id,
        network_id=port.network_id,
        port_name=port.name,
        ips=tuple(HeldIp(ip.subnet_id, str(ip.address)) for ip in kept),
        mac=port.mac,
        since=now,
        until=until,
    )
    tx.put_record(Kind.HELD_ADDRESS, id_, held, project_id=port.project_id, name=port.name, parent=port.network_id)


def set_policy(tx: Transaction, network_id: NetworkId, hold_s: float | None) -> Network:
    """Say how long names of a network keep their addresses; 0: not at all, which frees what is held; None: for ever.

    Raises NotFound, and Invalid for a time that is none. What is held keeps its time otherwise.
    """
    if hold_s is not None and not 0 <= hold_s <= MAX_HOLD_S:
        message = f"a hold of {hold_s:g} s is not possible: name 0 (none), up to {MAX_HOLD_S:g} s, or for ever"
        raise Invalid(message, kind="InvalidPolicy")
    network = changed(tx, network_of(tx, network_id), hold_s=hold_s)
    tx.put_network(network)
    if hold_s == 0:
        for held in holds(tx, network_id):
            release(tx, held.id)
    return network


def holds(snapshot: Snapshot, network_id: NetworkId | None = None) -> list[Held]:
    """Return what is held for names, in all networks or in one."""
    return snapshot.records(Kind.HELD_ADDRESS, Held, parent=network_id)


def release(tx: Transaction, id_: str) -> None:
    """Let what a name keeps rest as if its port had just been deleted. Raises NotFound."""
    held = tx.record(Kind.HELD_ADDRESS, Held, id_)
    if held is None:
        raise NotFound(f"nothing is held under {id_}; `weft ipam holds` lists what is", kind="HoldNotFound")
    tx.delete_record(Kind.HELD_ADDRESS, id_)
    let_rest(tx, _ips(held, tx.subnets(held.network_id)))


def has_expired(snapshot: Snapshot, now: float) -> bool:
    """Tell whether there is something for `forget_expired`."""
    return any(held.until is not None and held.until <= now for held in holds(snapshot))


def forget_expired(tx: Transaction) -> int:
    """Drop what was held until now; its addresses are free by themselves. Return how many names that were."""
    gone = [held for held in holds(tx) if held.until is not None and held.until <= tx.clock()]
    for held in gone:
        tx.delete_record(Kind.HELD_ADDRESS, held.id)
    return len(gone)


def forget_subnet(tx: Transaction, subnet: Subnet) -> None:
    """Drop the addresses of a subnet that is deleted from what names keep."""
    for held in holds(tx, subnet.network_id):
        left = tuple(ip for ip in held.ips if ip.subnet_id != subnet.id)
        if not left:
            tx.delete_record(Kind.HELD_ADDRESS, held.id)
        elif left != held.ips:
            new = msgspec.structs.replace(held, ips=left)
            tx.put_record(
                Kind.HELD_ADDRESS,
                held.id,
                new,
                project_id=held.project_id,
                name=held.port_name,
                parent=held.network_id,
            )


def take_back(tx: Transaction, network_id: NetworkId, addresses: Iterable[IPAddress]) -> tuple[FixedIp, ...]:
    """Take addresses of a network that may rest, for who had them until now; return those that are not another's."""
    wanted = [(subnet, each) for each in addresses for subnet in tx.subnets(network_id) if each in subnet.cidr]
    return tuple(FixedIp(subnet.id, each) for subnet, each in wanted if _take(tx, subnet, each))


def _take(tx: Transaction, subnet: Subnet, address: IPAddress) -> bool:
    """Take an address that rests for us."""
    for _ in range(2):  # The first try may have the allocator built anew, which then knows that the address rests.
        pool = tx.pool(subnet)
        pool.recall(int(address))
        if tx.take_address(subnet, int(address)) is not None:
            tx.on_commit(partial(pool.settle, int(address)))
            return True
    return False


def _ips(held: Held, subnets: Iterable[Subnet]) -> list[FixedIp]:
    known = {subnet.id for subnet in subnets}
    return [FixedIp(ip.subnet_id, parse_address(ip.address)) for ip in held.ips if ip.subnet_id in known]


def _is_asked(ip: FixedIp, asked: tuple[FixedIpSpec, ...] | None) -> bool:
    if asked is None:
        return True
    return any(ip.address == wish.address or wish == FixedIpSpec(subnet_id=ip.subnet_id) for wish in asked)


def _free(tx: Transaction, network_id: NetworkId, mac: Mac) -> Mac | None:
    return None if tx.ports(network_id=network_id, mac=mac) else mac


def _id(network_id: NetworkId, project_id: str, name: str) -> str:
    # Escaped: a project and a name that are divided elsewhere must not be the same.
    return f"{network_id}/{quote(project_id, safe='')}/{name}"
