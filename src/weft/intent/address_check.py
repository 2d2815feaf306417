"""What is wrong with addresses: plan, ports, the tables that guard them, rests, holds and blocks, held to each other.

Each finding is about one subject and can be looked for again by itself. What would free something is done only if two
checks, a quarantine apart, have found the same, and it is still so in the transaction that frees it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from weft.intent.addresses import QUARANTINE_S
from weft.intent.blocks import all_blocks
from weft.intent.findings import LATE_S, Finding, Remedy, Subject, Suspect, Trouble
from weft.intent.held import Held, holds
from weft.intent.plan import unplan_subnet, unplanned
from weft.intent.plan_rows import domains_of, tree_of
from weft.intent.ports import ROUTER_INTERFACE, is_gateway, remove_port
from weft.intent.workload_check import of_workloads
from weft.ipam.blocks import GRACE_S, BlockPool, BlockState
from weft.ipam.reservations import reservation_of, why
from weft.model.addresses import parse_address
from weft.model.ids import NetworkId, PortId, RouterId, SiteName, SubnetId
from weft.model.intent import Subnet, overlap
from weft.model.plan import Level
from weft.store import Kind, PortView, Snapshot, Transaction
from weft.store.addresses import address_page, holder, rest_end, resting_rows

MAX_FIXED_AT_ONCE = 500
"""Findings that one check repairs; the next goes on."""


def of_port(snapshot: Snapshot, view: PortView) -> Iterator[Finding]:
    """Yield what is wrong with a port's addresses, and with where it is."""
    port = view.port
    for ip in port.fixed_ips:
        guarded = holder(snapshot, port.network_id, str(ip.address))
        if guarded is None:
            yield _port(Trouble.DOUBLE, view, f"has {ip.address}, which nothing keeps from being given out again")
        elif guarded[1] != port.id:
            yield _port(Trouble.DOUBLE, view, f"has {ip.address}, which is also port {guarded[1]}'s")
        yield from _of_place(view, snapshot.subnet(ip.subnet_id), str(ip.address))
    if port.device_owner == ROUTER_INTERFACE and not is_gateway(snapshot, port):
        text = f"is the gateway of router {port.device_id or '-'}, which has no such interface"
        yield _port(Trouble.ORPHAN, view, text, Remedy.DELETE_PORT)
    nodes = snapshot.topology().nodes
    for binding in view.life.bindings:
        if binding.node not in nodes:
            yield _port(Trouble.ORPHAN, view, f"is bound to node '{binding.node}', which the inventory has not")


def of_addresses(snapshot: Snapshot, network_id: NetworkId, after: str, limit: int) -> tuple[str, int, list[Finding]]:
    """Look at so many guarded addresses of a network; return the last one's text (empty: no more), how many there
    were, and what is wrong."""
    page = address_page(snapshot, network_id, after, limit)
    ports = {view.port.id: view for view in snapshot.ports(ids=list({row[2] for row in page}))}
    found = []
    for address, _, port_id in page:
        view = ports.get(port_id)
        if view is None or address not in {str(ip.address) for ip in view.port.fixed_ips}:
            found.append(_leaked(network_id, address, port_id, there=view is not None))
    return (page[-1][0] if len(page) == limit else ""), len(page), found


def of_rests(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Yield addresses that rest where nothing is, or for longer than anybody asked for."""
    promised = {(each.network_id, ip.address) for each in holds(snapshot) for ip in each.ips}
    for network_id, address, subnet_id, until in resting_rows(snapshot):
        if (network_id, address) not in promised or snapshot.subnet(subnet_id) is None:
            yield from _of_rest(snapshot, network_id, address, now, (subnet_id, until))


def of_holds(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Yield holds of what another has, and those that should have ended."""
    for held in holds(snapshot):
        if (finding := _of_hold(snapshot, held, now)) is not None:
            yield finding


def of_plan(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield prefixes whose owners are gone, and subnets outside of the plan that binds them."""
    there = {
        Level.SUBNET: lambda id_: snapshot.subnet(SubnetId(id_)) is not None,
        Level.NETWORK: lambda id_: snapshot.network(NetworkId(id_)) is not None,
        Level.ROUTER: lambda id_: snapshot.router(RouterId(id_)) is not None,
        Level.SITE: lambda id_: SiteName(id_) in snapshot.topology().sites,
    }
    for domain in domains_of(snapshot):
        tree = tree_of(snapshot, domain)
        for problem in tree.problems():
            yield Finding(about=Subject.PLAN, trouble=Trouble.DOUBLE, text=f"the plan: {problem}", id=domain)
        for each in tree:
            is_there = there.get(each.level)
            if is_there is not None and not is_there(each.owner.id):
                remedy = Remedy.FREE_PREFIX if each.level is Level.SUBNET else Remedy.NONE
                text = f"prefix {each} is delegated to what is not there"
                yield Finding(about=Subject.PLAN, trouble=Trouble.ORPHAN, text=text, id=each.id, remedy=remedy)
    for subnet, owner in unplanned(snapshot):
        text = f"subnet {subnet.id} ({subnet.cidr}) is not in the plan of {owner}, which binds it"
        yield Finding(about=Subject.PLAN, trouble=Trouble.OUTSIDE, text=text, id=subnet.id)


def of_blocks(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """Yield blocks that overlap, that belong to nothing, or that should have come back."""
    pools = {pool.id: pool for pool in snapshot.records(Kind.BLOCK_POOL, BlockPool)}
    nodes = snapshot.topology().nodes
    ordered = sorted(all_blocks(snapshot), key=lambda block: (block.pool_id, int(block.network[0])))
    for at, block in enumerate(ordered):
        before = ordered[at - 1] if at else block
        if block is not before and before.pool_id == block.pool_id and overlap(before.network, block.network):
            text = f"block {block.cidr} of node '{block.node}' overlaps {before.cidr} of node '{before.node}'"
            yield Finding(about=Subject.BLOCK, trouble=Trouble.DOUBLE, text=text, id=block.id)
        if block.pool_id not in pools:
            text = f"block {block.cidr} of node '{block.node}' is of pool {block.pool_id}, which is not there"
            yield Finding(about=Subject.BLOCK, trouble=Trouble.ORPHAN, text=text, id=block.id, remedy=Remedy.DROP_BLOCK)
        elif block.node not in nodes and block.state is BlockState.LEASED:
            text = f"block {block.cidr} is leased to node '{block.node}', which the inventory has not"
            yield Finding(about=Subject.BLOCK, trouble=Trouble.ORPHAN, text=text, id=block.id)
        elif block.until + GRACE_S + LATE_S < now:
            text = f"block {block.cidr} of node '{block.node}' should have come back {now - block.until:.0f} s ago"
            yield Finding(about=Subject.BLOCK, trouble=Trouble.LEAK, text=f"{text}: do controllers run?", id=block.id)


def settle(tx: Transaction, findings: Iterable[Finding], *, fix: bool) -> dict[str, str]:
    """Compare with what the last check found; return what becomes of each finding, by key.

    ``new``: another check has to find it; ``confirmed``: two have; ``fixed``: it has been put right. With `fix` at most
    MAX_FIXED_AT_ONCE are.
    """
    now = tx.clock()
    known = {each.id: each for each in tx.records(Kind.SUSPECT, Suspect)}
    settled: dict[str, str] = {}
    fixed = 0
    for finding in findings:
        suspect = known.pop(finding.key, None)
        if suspect is None:
            tx.put_record(Kind.SUSPECT, finding.key, Suspect(id=finding.key, since=now))
            settled[finding.key] = "new"
        elif now - suspect.since < QUARANTINE_S:
            settled[finding.key] = "new"
        elif fix and finding.remedy and fixed < MAX_FIXED_AT_ONCE and _apply(tx, finding):
            tx.delete_record(Kind.SUSPECT, finding.key)
            settled[finding.key] = "fixed"
            fixed += 1
        else:
            settled[finding.key] = "confirmed"
    for gone in known:
        tx.delete_record(Kind.SUSPECT, gone)
    return settled


def is_still(snapshot: Snapshot, finding: Finding, now: float) -> bool:
    """Tell whether a finding is so in this snapshot."""
    return finding.key in {each.key for each in _LOOK[finding.about](snapshot, finding, now)}


def _apply(tx: Transaction, finding: Finding) -> bool:
    """Put a finding right; False if it is no longer so."""
    if not is_still(tx, finding, tx.clock()):
        return False
    if finding.remedy is Remedy.FREE_ADDRESS:
        _free_address(tx, finding)
    elif finding.remedy is Remedy.END_REST:
        resting = rest_end(tx, finding.network_id, finding.address)
        subnet = None if resting is None else tx.subnet(resting[0])
        assert subnet is not None, "it has just been found to rest in a subnet"
        tx.rest_address(subnet, parse_address(finding.address), tx.clock() + QUARANTINE_S)
    elif finding.remedy is Remedy.DROP_HOLD:
        tx.delete_record(Kind.HELD_ADDRESS, finding.id)
    elif finding.remedy is Remedy.FREE_PREFIX:
        unplan_subnet(tx, SubnetId(finding.id))
    elif finding.remedy is Remedy.DROP_BLOCK:
        tx.delete_record(Kind.BLOCK, finding.id)
    elif finding.remedy is Remedy.DELETE_PORT:
        view = tx.port(PortId(finding.id))
        assert view is not None, "it has just been found"
        remove_port(tx, view, actor="ipam-check")
    return True


def _free_address(tx: Transaction, finding: Finding) -> None:
    guarded = holder(tx, finding.network_id, finding.address) or rest_end(tx, finding.network_id, finding.address)
    assert guarded is not None, "it has just been found"
    tx.forget_address(finding.network_id, finding.address, guarded[0])
    subnet = tx.subnet(guarded[0])
    if subnet is not None:
        tx.rest_address(subnet, parse_address(finding.address), tx.clock() + QUARANTINE_S)


def _of_place(view: PortView, subnet: Subnet | None, address: str) -> Iterator[Finding]:
    """Yield what is wrong with where an address of a port lies."""
    number = parse_address(address)
    if subnet is None or number not in subnet.cidr:
        named = "a subnet that is not there" if subnet is None else f"its subnet {subnet.cidr}"
        yield _port(Trouble.OUTSIDE, view, f"has {address}, which is not of {named}")
        return
    reserved = reservation_of(subnet, number)
    if reserved is None or number == subnet.gateway:
        return
    if (reserved.project_id, reserved.port_name) != (view.port.project_id, view.port.name) or not reserved.port_name:
        yield _port(Trouble.DOUBLE, view, f"has {address}, which is reserved: {why(reserved)}")


def _of_rest(
    snapshot: Snapshot, network_id: NetworkId, address: str, now: float, rest: tuple[SubnetId, float]
) -> Iterator[Finding]:
    """Yield what is wrong with the rest of an address that no name keeps."""
    subnet_id, until = rest
    orphan = snapshot.subnet(subnet_id) is None
    if not orphan and until <= now + QUARANTINE_S + LATE_S:
        return
    yield Finding(
        about=Subject.REST,
        trouble=Trouble.ORPHAN if orphan else Trouble.LEAK,
        text=f"{address} rests in subnet {subnet_id}, " + ("which is not there" if orphan else "and no name keeps it"),
        id=subnet_id,
        remedy=Remedy.FREE_ADDRESS if orphan else Remedy.END_REST,
        network_id=network_id,
        address=address,
    )


def _of_hold(snapshot: Snapshot, held: Held, now: float) -> Finding | None:
    text = f"name '{held.port_name}' of project {held.project_id}"
    if snapshot.network(held.network_id) is None:
        text += f" keeps addresses of network {held.network_id}, which is not there"
    elif others := [ip for ip in held.ips if holder(snapshot, held.network_id, ip.address) is not None]:
        text += f" keeps {others[0].address}, which a port has"
    elif held.until is not None and held.until + LATE_S < now:
        text += f" should have let go of {held.ips[0].address} {now - held.until:.0f} s ago"
    else:
        return None
    return Finding(about=Subject.HOLD, trouble=Trouble.ORPHAN, text=text, id=held.id, remedy=Remedy.DROP_HOLD)


def _leaked(network_id: NetworkId, address: str, port_id: PortId, *, there: bool) -> Finding:
    why = "does not know of it" if there else "is not there"
    return Finding(
        about=Subject.ADDRESS,
        trouble=Trouble.LEAK,
        text=f"{address} of network {network_id} is held by port {port_id}, which {why}",
        id=port_id,
        remedy=Remedy.FREE_ADDRESS,
        network_id=network_id,
        address=address,
    )


def _port(trouble: Trouble, view: PortView, text: str, remedy: Remedy = Remedy.NONE) -> Finding:
    return Finding(
        about=Subject.PORT, trouble=trouble, text=f"port {view.port.id} {text}", id=view.port.id, remedy=remedy
    )


def _look_at_port(snapshot: Snapshot, finding: Finding, now: float) -> Iterable[Finding]:
    del now
    view = snapshot.port(PortId(finding.id))
    return [] if view is None else of_port(snapshot, view)


def _look_at_address(snapshot: Snapshot, finding: Finding, now: float) -> Iterable[Finding]:
    del now
    guarded = holder(snapshot, finding.network_id, finding.address)
    if guarded is None:
        return []
    view = snapshot.port(guarded[1])
    if view is not None and finding.address in {str(ip.address) for ip in view.port.fixed_ips}:
        return []
    return [_leaked(finding.network_id, finding.address, guarded[1], there=view is not None)]


def _look_at_rest(snapshot: Snapshot, finding: Finding, now: float) -> Iterable[Finding]:
    rest = rest_end(snapshot, finding.network_id, finding.address)
    if rest is None:
        return []
    promised = {ip.address for each in holds(snapshot, finding.network_id) for ip in each.ips}
    if finding.address in promised and snapshot.subnet(rest[0]) is not None:
        return []
    return _of_rest(snapshot, finding.network_id, finding.address, now, rest)


def _look_at_hold(snapshot: Snapshot, finding: Finding, now: float) -> Iterable[Finding]:
    held = snapshot.record(Kind.HELD_ADDRESS, Held, finding.id)
    found = None if held is None else _of_hold(snapshot, held, now)
    return [] if found is None else [found]


_LOOK: Mapping[Subject, Callable[[Snapshot, Finding, float], Iterable[Finding]]] = {
    Subject.PORT: _look_at_port,
    Subject.ADDRESS: _look_at_address,
    Subject.REST: _look_at_rest,
    Subject.HOLD: _look_at_hold,
    Subject.PLAN: lambda snapshot, _, __: of_plan(snapshot),
    Subject.BLOCK: lambda snapshot, _, now: of_blocks(snapshot, now),
    Subject.WORKLOAD: lambda snapshot, _, now: of_workloads(snapshot, now),
}
