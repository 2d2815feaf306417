"""Sticky names: what a name keeps of a deleted port, for how long, and who gets it."""

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from core_world import PROJECT, Clock, World, world

from weft.intent.addresses import QUARANTINE_S, FixedIpSpec
from weft.intent.held import forget_expired, holds, release, set_policy
from weft.intent.ports import delete_port
from weft.intent.reservations import reserve, unreserve
from weft.intent.subnets import delete_subnet
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.ids import NetworkId
from weft.model.intent import Network, Reservation
from weft.store import PortView


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as opened:
        yield opened


async def sticky(core: World, hold_s: float | None, cidr: str = "10.0.0.0/29") -> Network:
    network, _ = await core.segment(cidr)
    return await core.store.transact(lambda tx: set_policy(tx, network.id, hold_s))


async def delete(core: World, view: PortView) -> None:
    await core.store.transact(lambda tx: delete_port(tx, view.port.id))


def address(view: PortView) -> str:
    return ", ".join(str(ip.address) for ip in view.port.fixed_ips)


async def fill(core: World, network_id: NetworkId) -> list[str]:
    """Take every address that there is."""
    taken = []
    while True:
        try:
            taken.append(address(await core.port(network_id)))
        except Conflict:
            return taken


async def test_a_name_gets_its_address_and_mac_back(core: World) -> None:
    network = await sticky(core, 3600.0)
    before = await core.port(network.id, name="web-0")
    await delete(core, before)
    assert address(before) not in await fill(core, network.id), "a held address is nobody else's"
    again = await core.port(network.id, name="web-0")
    assert (address(again), again.port.mac) == (address(before), before.port.mac)
    assert await core.store.read(holds) == []
    with pytest.raises(Conflict):
        await core.port(network.id, name="web-0")  # the name has given all that it kept


async def test_a_name_keeps_nothing_of_another_project_or_network(core: World) -> None:
    network = await sticky(core, None)
    before = await core.port(network.id, name="web-0")
    await delete(core, before)
    other = await sticky(core, None)
    elsewhere = await core.port(other.id, name="web-0")
    assert elsewhere.port.mac != before.port.mac
    (held,) = await core.store.read(holds)
    assert (held.network_id, held.project_id, held.port_name) == (network.id, PROJECT, "web-0")


async def test_a_hold_ends(core: World) -> None:
    network = await sticky(core, 600.0)
    before = await core.port(network.id, name="web-0")
    await fill(core, network.id)
    await delete(core, before)
    core.clock.advance(599.0)
    assert await fill(core, network.id) == []
    core.clock.advance(2.0)
    assert await core.store.transact(forget_expired) == 1
    assert await fill(core, network.id) == [address(before)]
    await_new = core.port(network.id, name="web-0")
    with pytest.raises(Conflict):
        await await_new


async def test_for_ever_is_longer_than_a_restart(core: World, tmp_path: Path) -> None:
    path = tmp_path / "again"
    clock = Clock()
    async with world(path, clock) as first:
        network = await sticky(first, None)
        before = await first.port(network.id, name="db-0")
        await delete(first, before)
    clock.advance(1e8)
    async with world(path, clock, seed=8) as second:
        assert len(await fill(second, network.id)) == 4
        assert address(await second.port(network.id, name="db-0")) == address(before)


async def test_a_claim_that_fails_leaves_the_address_held(core: World) -> None:
    network = await sticky(core, None)
    before = await core.port(network.id, name="db-0")
    await delete(core, before)
    with pytest.raises(Invalid):
        await core.port(network.id, "no-such-node", name="db-0")
    assert len(await fill(core, network.id)) == 4
    assert address(await core.port(network.id, name="db-0")) == address(before)


async def test_what_is_asked_for_goes_before_what_is_held(core: World) -> None:
    network = await sticky(core, None)
    before = await core.port(network.id, name="db-0")
    await delete(core, before)
    wanted = (FixedIpSpec(address=ip_address("10.0.0.6")),)
    after = await core.port(network.id, name="db-0", fixed_ips=wanted)
    assert (address(after), after.port.mac) == ("10.0.0.6", before.port.mac)
    core.clock.advance(QUARANTINE_S)
    assert address(before) in await fill(core, network.id), "what the name did not want rests, and is free"


async def test_a_held_address_may_be_asked_for_by_its_name_only(core: World) -> None:
    network = await sticky(core, None)
    before = await core.port(network.id, name="db-0")
    await delete(core, before)
    wanted = (FixedIpSpec(address=before.port.fixed_ips[0].address),)
    with pytest.raises(Conflict, match="already allocated"):
        await core.port(network.id, name="thief", fixed_ips=wanted)
    assert address(await core.port(network.id, name="db-0", fixed_ips=wanted)) == address(before)


async def test_the_policy_and_a_release_end_holds(core: World) -> None:
    network = await sticky(core, None)
    for name in ("a", "b"):
        await delete(core, await core.port(network.id, name=name))
    first, _ = await core.store.read(holds)
    await core.store.transact(lambda tx: release(tx, first.id))
    await core.store.transact(lambda tx: set_policy(tx, network.id, 0.0))
    assert await core.store.read(holds) == []
    core.clock.advance(QUARANTINE_S)
    assert len(await fill(core, network.id)) == 5
    with pytest.raises(NotFound, match="nothing is held under"):
        await core.store.transact(lambda tx: release(tx, first.id))
    with pytest.raises(Invalid, match="-1 s is not possible"):
        await core.store.transact(lambda tx: set_policy(tx, network.id, -1.0))


async def test_a_deleted_subnet_takes_what_was_held_with_it(core: World) -> None:
    network = await sticky(core, None)
    before = await core.port(network.id, name="a")
    await delete(core, before)
    await core.store.transact(lambda tx: delete_subnet(tx, before.port.fixed_ips[0].subnet_id))
    assert await core.store.read(holds) == []
    await core.subnet(network, "10.0.0.0/29")
    assert address(await core.port(network.id, name="a")) == "10.0.0.2"


async def test_reserved_addresses_are_given_to_nobody(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/29")
    kept = Reservation(start=ip_address("10.0.0.1"), end=ip_address("10.0.0.3"), reason="printers")
    await core.store.transact(lambda tx: reserve(tx, subnet.id, kept))
    wanted = (FixedIpSpec(address=ip_address("10.0.0.3")),)
    with pytest.raises(Conflict, match="is reserved: printers"):
        await core.port(network.id, fixed_ips=wanted)
    assert await fill(core, network.id) == ["10.0.0.4", "10.0.0.5", "10.0.0.6"]
    await core.store.transact(lambda tx: unreserve(tx, subnet.id, kept.start))
    assert await fill(core, network.id) == ["10.0.0.2", "10.0.0.3"]
    with pytest.raises(NotFound):
        await core.store.transact(lambda tx: unreserve(tx, subnet.id, kept.start))


async def test_an_address_is_reserved_for_a_name(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/29")
    spot = ip_address("10.0.0.5")
    kept = Reservation(start=spot, end=spot, project_id=PROJECT, port_name="db")
    await core.store.transact(lambda tx: reserve(tx, subnet.id, kept))
    assert "10.0.0.5" not in await fill(core, network.id)
    found = await core.port(network.id, name="db")
    assert address(found) == "10.0.0.5"
    await delete(core, found)
    assert address(await core.port(network.id, name="db")) == "10.0.0.5", "its name need not wait for the quarantine"


async def test_addresses_of_ports_are_not_reserved_for_others(core: World) -> None:
    network, subnet = await core.segment("10.0.0.0/29")
    used = await core.port(network.id, name="web")
    spot = used.port.fixed_ips[0].address
    kept = Reservation(start=spot, end=spot, reason="printers")
    with pytest.raises(Conflict, match=f"{spot} is in use by port {used.port.id}"):
        await core.store.transact(lambda tx: reserve(tx, subnet.id, kept))
    mine = msgspec.structs.replace(kept, project_id=PROJECT, port_name="web")
    await core.store.transact(lambda tx: reserve(tx, subnet.id, mine))
