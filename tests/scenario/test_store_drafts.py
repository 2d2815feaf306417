"""Work that is done before its turn to write, while another process of the server has its own."""

import asyncio
import copy
import gc
import os
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from core_world import PROJECT, Clock, World, small_dc
from empty_store import put_empty_store
from tests.thorough import examples

from weft.intent.inventory import replace_inventory
from weft.intent.networks import NetworkChanges, delete_network, update_network
from weft.intent.ports import FixedIpSpec, PortChanges, PortSpec, create_ports, delete_port, update_port
from weft.intent.quotas import quota_of, set_quota
from weft.intent.security_groups import SecurityGroupSpec, create_group
from weft.intent.subnets import delete_subnet
from weft.model.errors import Conflict, NotFound, Transient
from weft.model.ids import NetworkId, NodeName, PortId
from weft.store import Kind, PortView, Store, Transaction, open_engine
from weft.store.check import contradictions
from weft.store.sqlite import SqliteConnection, SqliteEngine

OTHERS = "others"
PORTS = Kind.PORT


@dataclass
class Server:
    """Two processes of a server, as far as their stores are concerned: one that has its turn, and one that drafts."""

    first: World
    second: Store
    path: Path

    async def beside(
        self, theirs: Callable[[Transaction], object], *asked: Callable[[Store], Any], until: Callable[[], object]
    ) -> list[Any]:
        """Have the first process do `theirs`, which it ends once the second has begun with what is asked of it."""
        has_turn, go = threading.Event(), threading.Event()

        def work(tx: Transaction) -> object:
            has_turn.set()
            assert go.wait(10)
            return theirs(tx)

        doing = asyncio.ensure_future(self.first.store.transact(work))
        await asyncio.to_thread(has_turn.wait)
        outcomes = [asyncio.ensure_future(each(self.second)) for each in asked]
        while not until():  # noqa: ASYNC110 - it is another thread's to say
            await asyncio.sleep(0.001)
        go.set()
        await doing
        return await asyncio.gather(*outcomes, return_exceptions=True)

    async def check(self) -> None:
        """Assert that nothing is lost, double, or counted wrongly, and that every revision was given once."""
        assert await self.first.store.read(contradictions) == []
        revisions = [each.revision for each in await self.first.changes(0)]
        assert sorted(set(revisions)) == list(range(1, revisions[-1] + 1))
        for store in (self.first.store, self.second):
            ports = await store.transact(lambda tx: len(tx.ports()))
            assert await store.transact(lambda tx: tx.usage(PROJECT, PORTS)) == ports


class Maker:
    """Creates ports for several callers, and remembers each time whether it was before the turn."""

    def __init__(self, network_id: NetworkId) -> None:
        self.network_id = network_id
        self.early: list[bool] = []

    def make(self, tx: Transaction, items: Sequence[str | None]) -> Sequence[PortView]:
        self.early.append(tx._group.is_draft)
        return create_ports(tx, [spec(self.network_id, each) for each in items])

    def one(self, address: str | None = None) -> Callable[[Store], Any]:
        return lambda store: store.transact_together(self.make, address, early=True)

    def many(self, count: int) -> Callable[[Store], Any]:
        return lambda store: store.transact(lambda tx: self.make(tx, [None] * count), early=True)

    async def warm_up(self, server: Server) -> None:
        """Have the second process know what it needs to."""
        while self.early[-1:] != [True]:
            await self.one()(server.second)
            assert len(self.early) < 16, "it is drafted when all is known"
        self.early.clear()


def spec(network_id: NetworkId, address: str | None = None) -> PortSpec:
    wanted = None if address is None else (FixedIpSpec(address=ip_address(address)),)
    return PortSpec(project_id=PROJECT, network_id=network_id, fixed_ips=wanted)


@asynccontextmanager
async def two_processes(tmp_path: Path) -> AsyncIterator[Server]:
    path = tmp_path / "weft.db"
    await put_empty_store(path)
    engine = open_engine(f"sqlite:///{path}")
    assert isinstance(engine, SqliteEngine)
    engine.share()
    forked = copy.copy(engine)  # as a process has it that was forked
    forked._lock = os.dup(engine._lock)
    clock = Clock()
    first = await Store.open(engine, clock=clock, random=random.Random(1).getrandbits)
    second = await Store.open(forked, clock=clock, random=random.Random(2).getrandbits)
    try:
        await first.transact(lambda tx: replace_inventory(tx, small_dc()))
        yield Server(World(first, clock), second, path)
    finally:
        await second.close()
        await first.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with two_processes(tmp_path) as made:
        yield made
        await made.check()


async def test_ports_are_made_while_another_process_writes(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    other, _ = await server.first.segment("10.1.0.0/16")
    await maker.warm_up(server)
    before = await server.second.read(lambda snapshot: snapshot.revision())
    made = await server.beside(
        lambda tx: create_ports(tx, [spec(other.id)] * 3), maker.one(), maker.one(), until=lambda: maker.early
    )
    assert maker.early == [True], "it is done once, before the turn"
    assert len({view.port.fixed_ips for view in made}) == 2
    changed = await server.first.changes(before)
    assert [(each.revision - before, each.kind) for each in changed] == [(1, PORTS)] * 3 + [(2, PORTS)] * 2


async def test_a_draft_outlives_records_that_it_has_not_looked_at(server: Server) -> None:
    """Such as of the members of a security group, and how many of them there are."""
    network, _ = await server.first.segment("10.0.0.0/16")
    other, _ = await server.first.segment("10.1.0.0/16")
    group = await server.first.store.transact(
        lambda tx: create_group(tx, SecurityGroupSpec(project_id=PROJECT, name="g"))
    )
    maker = Maker(network.id)
    await maker.warm_up(server)
    member = PortSpec(project_id=PROJECT, network_id=other.id, security_groups=(group.id,))
    await server.beside(lambda tx: create_ports(tx, [member]), maker.one(), until=lambda: maker.early)
    assert maker.early == [True]
    maker.early.clear()
    another = SecurityGroupSpec(project_id=PROJECT, name="another")
    await server.beside(lambda tx: create_group(tx, another), maker.one(), until=lambda: maker.early)
    assert maker.early == [True, False], "of these it has looked for the default one"


async def test_addresses_that_another_process_has_taken_meanwhile_are_its_own(server: Server) -> None:
    network, subnet = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)

    async def beside() -> set[str]:
        maker.early.clear()
        theirs: list[PortView] = []
        made = await server.beside(
            lambda tx: theirs.extend(create_ports(tx, [spec(network.id)] * 3)), maker.many(6), until=lambda: maker.early
        )
        return {str(view.port.fixed_ips[0].address) for view in (*theirs, *made[0])}

    await server.first.port(network.id)  # where the one goes on, the other does
    assert len(await beside()) == 9
    assert maker.early == [True, False], "the draft is given up, and done in the turn"
    made = await server.second.read(lambda snapshot: len(snapshot.ports()))
    assert await server.second.transact(lambda tx: tx.pool(subnet).free) == 2**16 - 3 - made
    await maker.many(1)(server.second)  # for one group, none is tried
    assert len(await beside()) == 9
    assert maker.early == [True], "from then on they go on in other places"


@pytest.mark.parametrize("is_older", [False, True])
async def test_addresses_that_another_process_has_given_and_changed_are_known(server: Server, is_older: bool) -> None:
    """Also if it is of a version that does not write into the log which they are."""
    network, subnet = await server.first.segment("10.0.0.0/24")
    await server.second.transact(lambda tx: tx.pool(subnet))
    one, two, three = [await server.first.port(network.id) for _ in range(3)]
    wanted = (FixedIpSpec(address=ip_address("10.0.0.77")), FixedIpSpec(address=ip_address("10.0.0.99")))
    await server.first.store.transact(lambda tx: update_port(tx, two.port.id, PortChanges(fixed_ips=wanted)))
    await server.first.store.transact(lambda tx: update_port(tx, one.port.id, PortChanges(name="as it was")))
    await server.first.store.transact(lambda tx: delete_port(tx, three.port.id))
    if is_older:
        with closing(sqlite3.connect(server.path)) as connection, connection:
            connection.execute("UPDATE changes SET addresses = NULL")

    def taken(tx: Transaction) -> list[bool]:
        pool = tx.pool(subnet)
        return [pool.take(int(ip_address(each)), tx.clock()) for each in ("10.0.0.2", "10.0.0.77", "10.0.0.99")]

    assert str(one.port.fixed_ips[0].address) == "10.0.0.2"
    assert await server.second.transact(taken) == [False] * 3
    assert await server.second.transact(lambda tx: tx.pool(subnet).take(int(ip_address("10.0.0.78")), tx.clock()))


async def test_a_draft_does_not_outlive_what_it_rests_on(server: Server) -> None:
    network, subnet = await server.first.segment("10.0.0.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)
    for view in await server.first.store.read(lambda snapshot: snapshot.ports()):
        await server.first.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))  # type: ignore[misc]

    def theirs(tx: Transaction) -> None:
        delete_subnet(tx, subnet.id)
        delete_network(tx, network.id)

    [outcome] = await server.beside(theirs, maker.one(), until=lambda: maker.early)
    assert isinstance(outcome, NotFound)
    assert maker.early == [True, False]


async def test_a_quota_that_another_process_sets_meanwhile_holds(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)

    def waits() -> bool:
        return server.second._writer._waiting > 0

    used = await server.second.read(lambda snapshot: snapshot.usage(PROJECT, PORTS))
    outcomes = await server.beside(
        lambda tx: set_quota(tx, PROJECT, {"port": used + 1}), maker.one(), maker.one(), until=lambda: maker.early
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "PortView"]
    maker.early.clear()
    outcomes = await server.beside(
        lambda tx: set_quota(tx, PROJECT, {"port": used + 4}), maker.one(), maker.one(), until=waits
    )
    assert not any(isinstance(each, Exception) for each in outcomes)


async def test_a_draft_does_not_hold_that_rests_on_how_many_ports_there_are(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/24")
    other, _ = await server.first.segment("10.0.1.0/24")
    await server.first.store.transact(lambda tx: set_quota(tx, PROJECT, {"port": 8}))
    maker = Maker(network.id)
    for _ in range(3):  # all is known, the quota too
        await server.second.transact(lambda tx: maker.make(tx, [None]))
    maker.early.clear()
    [outcome] = await server.beside(
        lambda tx: create_ports(tx, [spec(other.id)] * 5), maker.one(), until=lambda: maker.early
    )
    assert maker.early == [True, False]
    assert isinstance(outcome, Conflict)
    assert await server.first.store.read(lambda snapshot: snapshot.usage(PROJECT, PORTS)) == 8


async def test_a_record_that_another_process_changes_meanwhile_is_read_anew(server: Server) -> None:
    seen: list[int] = []

    def limit(tx: Transaction, items: Sequence[None]) -> Sequence[int]:
        seen.append(quota_of(tx, PROJECT).limit("port"))
        return [seen[-1]] * len(items)

    def ask(store: Store) -> Any:
        return store.transact_together(limit, None, early=True)

    await server.first.store.transact(lambda tx: set_quota(tx, PROJECT, {"port": 7}))
    while len(seen) < 5:
        await ask(server.second)
    seen.clear()
    [outcome] = await server.beside(lambda tx: set_quota(tx, PROJECT, {"port": 8}), ask, until=lambda: seen)
    assert (seen, outcome) == ([7, 8], 8)


async def test_what_asks_for_its_revision_waits_for_its_turn(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/24")
    other, _ = await server.first.segment("10.0.1.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)

    def make(tx: Transaction, items: Sequence[None]) -> list[tuple[int, int]]:
        create_ports(tx, [spec(network.id)] * len(items))
        return [(tx.revision(), tx.revision_after())] * len(items)

    before = await server.second.read(lambda snapshot: snapshot.revision())
    [outcome] = await server.beside(
        lambda tx: create_ports(tx, [spec(other.id)]),
        lambda store: store.transact_together(make, None, early=True),
        until=lambda: server.second._writer._waiting,
    )
    assert outcome == (before + 1, before + 2)


async def test_what_a_draft_would_refuse_may_be_right_by_its_turn(server: Server) -> None:
    network, _ = await server.first.segment()
    maker = Maker(network.id)
    await maker.warm_up(server)
    seen: list[str] = []

    def must_be_new(tx: Transaction, items: Sequence[None]) -> Sequence[str]:
        found = tx.network(network.id)
        assert found is not None
        seen.append(found.name)
        if found.name != "new":
            raise Conflict(f"it is called {found.name}")
        return [found.name] * len(items)

    outcomes = await server.beside(
        lambda tx: update_network(tx, network.id, NetworkChanges(name="new")),
        *[lambda store: store.transact_together(must_be_new, None, early=True)] * 2,
        until=lambda: seen,
    )
    assert (seen, outcomes) == (["n", "new"], ["new", "new"])


async def test_numbers_that_are_given_out_once_last_for_drafts(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    for _ in range(6):
        await maker.many(400)(server.second)
    assert maker.early == [True] * 6
    assert len({view.port.mac for view in await server.first.store.read(lambda snapshot: snapshot.ports())}) > 2400


def rename(name: str, seen: list[bool]) -> Callable[[Transaction, Sequence[PortId]], Sequence[PortView]]:
    def together(tx: Transaction, ids: Sequence[PortId]) -> Sequence[PortView]:
        seen.append(tx._group.is_draft)
        return [update_port(tx, id_, PortChanges(name=name)) for id_ in ids]

    return together


async def test_a_port_is_changed_before_the_turn_if_nobody_else_changes_it(server: Server) -> None:
    network, _ = await server.first.segment()
    one, two = [await server.first.port(network.id) for _ in range(2)]
    seen: list[bool] = []
    work = rename("mine", seen)
    mine = partial(Store.transact_together, together=work, item=one.port.id, ports=[one.port.id], early=True)
    await server.second.transact(lambda tx: tx.port(two.port.id))
    await server.beside(
        lambda tx: update_port(tx, two.port.id, PortChanges(description="theirs")), mine, until=lambda: seen
    )
    assert seen == [True]
    renamed = (await server.first.view(one.port.id)).port
    assert renamed.name == "mine"
    seen.clear()
    await server.beside(
        lambda tx: update_port(tx, one.port.id, PortChanges(description="theirs")), mine, until=lambda: seen
    )
    assert seen == [True, False]
    port = (await server.first.view(one.port.id)).port
    assert (port.name, port.description, port.revision_number) == ("mine", "theirs", renamed.revision_number + 2)


async def test_a_port_that_is_deleted_meanwhile_is_not_brought_back(server: Server) -> None:
    network, _ = await server.first.segment()
    view = await server.first.port(network.id)
    seen: list[bool] = []
    await server.second.transact(lambda tx: tx.port(view.port.id))
    [outcome] = await server.beside(
        lambda tx: delete_port(tx, view.port.id),
        partial(
            Store.transact_together, together=rename("mine", seen), item=view.port.id, ports=[view.port.id], early=True
        ),
        until=lambda: seen,
    )
    assert isinstance(outcome, NotFound)


async def test_a_draft_that_is_given_up_leaves_no_gap_between_addresses(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)
    last = await maker.one()(server.second)
    early: list[bool] = []

    def bind(tx: Transaction, items: Sequence[str]) -> list[PortView]:
        early.append(tx._group.is_draft)
        specs = [msgspec.structs.replace(spec(network.id), node=NodeName(node)) for node in items]
        return create_ports(tx, specs)

    made = await server.second.transact_together(bind, "node1", early=True)
    assert early == [True, False], "the network's VLAN on the leaf is to be chosen first"
    first = int(made.port.fixed_ips[0].address)
    assert first == int(last.port.fixed_ips[0].address) + 1
    several = await server.second.transact(lambda tx: bind(tx, ["node2"] * 5), early=True)
    assert [int(each.port.fixed_ips[0].address) for each in several] == list(range(first + 1, first + 6))


async def test_more_than_can_be_told_ends_a_draft(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.store.catching_up.MAX_CHANGES", 3)
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    made = await server.beside(
        lambda tx: create_ports(tx, [spec(network.id)] * 8), maker.one(), until=lambda: maker.early
    )
    assert maker.early == [True, False]
    assert isinstance(made[0], PortView)


async def test_a_turn_that_does_not_come_takes_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    network, subnet = await server.first.segment("10.0.0.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)
    free = await server.second.transact(lambda tx: tx.pool(subnet).free)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteConnection, "begin_write", fail)
        with pytest.raises(Transient, match="disk I/O error"):
            await maker.one()(server.second)
    assert maker.early == [True]
    assert await server.second.transact(lambda tx: tx.pool(subnet).free) == free


async def test_a_draft_that_hits_a_key_that_is_taken_is_run_again(server: Server) -> None:
    network, subnet = await server.first.segment("10.0.0.0/24")
    maker = Maker(network.id)
    await maker.warm_up(server)
    # The second process believes free what is taken: as if it had not been told.
    held = await server.first.port(network.id)
    number = int(held.port.fixed_ips[0].address)
    await server.second.transact(lambda tx: tx.pool(subnet).release(number))
    await server.second.transact(lambda tx: tx.pool(subnet).leap(number - 0x0A000002 - tx.pool(subnet)._cursor))
    maker.early.clear()
    view = await maker.one()(server.second)
    assert maker.early == [True, False]
    assert view.port.fixed_ips[0].address != held.port.fixed_ips[0].address


async def test_no_work_that_is_done_waits_for_the_garbage_collector(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    made = [await maker.one()(server.second) for _ in range(3)]
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await maker.one()(server.second)
            await maker.many(3)(server.second)
            for view in made:
                id_ = view.port.id
                await server.second.transact(
                    lambda tx, id_=id_: update_port(tx, id_, PortChanges(node=NodeName("node1"))),  # type: ignore[misc]
                    ports=[id_],
                    early=True,
                )
        left = [each for each in gc.get_objects() if isinstance(each, Transaction)]
    finally:
        gc.enable()
    assert len(left) < 8, "none but the last refers to itself"


@pytest.mark.parametrize("seed", range(examples(40)))
async def test_whatever_two_processes_do_at_once_nothing_is_lost_or_double(server: Server, seed: int) -> None:
    """Creations, alone and many, changes, moves and deletions, of few ports in a subnet that is full at times."""
    dice = random.Random(seed)
    network, _ = await server.first.segment("10.0.0.0/27")
    nodes = [NodeName("node1"), NodeName("node2"), None]
    stores = [server.first.store, server.second]
    made: list[PortId] = []
    wanted: dict[PortId, set[str]] = {}

    def create(tx: Transaction, items: Sequence[int]) -> list[list[PortView]]:
        views = iter(create_ports(tx, [spec(network.id)] * sum(items)))
        return [[next(views) for _ in range(count)] for count in items]

    def bind(tx: Transaction, items: Sequence[tuple[PortId, NodeName | None]]) -> list[PortView]:
        return [update_port(tx, id_, PortChanges(node=node)) for id_, node in items]

    def tag(tx: Transaction, items: Sequence[tuple[PortId, str]]) -> list[PortView]:
        found = []
        for id_, name in items:
            view = tx.port(id_)
            tags = view.port.tags if view is not None else ()
            found.append(update_port(tx, id_, PortChanges(tags=(*tags, name))))
        return found

    async def step(store: Store, number: int) -> None:
        sort = dice.choice("ccmbbttd")
        id_ = dice.choice(made) if made else None
        try:
            if sort == "c":
                made.append((await store.transact_together(create, 1, early=True))[0].port.id)
            elif sort == "m":
                views = (await store.transact(lambda tx: create(tx, [4]), early=True))[0]
                made.extend(view.port.id for view in views)
            elif id_ is None:
                return
            elif sort == "b":
                await store.transact_together(bind, (id_, dice.choice(nodes)), ports=[id_], early=True)
            elif sort == "t":
                await store.transact_together(tag, (id_, f"t{number}"), ports=[id_], early=True)
                wanted.setdefault(id_, set()).add(f"t{number}")
            else:
                await store.transact(lambda tx: delete_port(tx, id_), ports=[id_])
                made.remove(id_)
        except (Conflict, NotFound):
            return

    for turn in range(12):
        await asyncio.gather(*(step(stores[dice.randrange(2)], turn * 100 + each) for each in range(10)))
        server.first.clock.now += dice.choice((0, 0, 700))  # addresses rest for a while
    ports = {view.port.id: view.port for view in await server.second.read(lambda snapshot: snapshot.ports())}
    assert ports.keys() == set(made)
    for id_, port in ports.items():
        assert set(port.tags) >= wanted.get(id_, set()), "no change is lost"


async def test_what_must_ask_the_database_is_drafted_ever_less_often_and_holds_nobody_else_back(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    early: list[bool] = []

    def ask(tx: Transaction, items: Sequence[None]) -> Sequence[int]:
        early.append(tx._group.is_draft)
        return [len(tx.ports(network_id=network.id))] * len(items)

    for _ in range(40):
        await server.second.transact_together(ask, None, early=True)
        await maker.one()(server.second)
    assert early.count(False) == 40, "it is done in the turn in any case"
    assert early.count(True) == 5, "in the 1st, 3rd, 7th, 15th and 31st group"
    assert maker.early == [True] * 40


async def test_a_sort_of_work_that_can_be_drafted_again_is_drafted_at_once(server: Server) -> None:
    network, _ = await server.first.segment("10.0.0.0/16")
    maker = Maker(network.id)
    await maker.warm_up(server)
    for _ in range(3):
        maker.early.clear()
        await server.first.store.transact(lambda tx: update_network(tx, network.id, NetworkChanges(name="again")))
        await maker.one()(server.second)
        await maker.one()(server.second)
        await maker.one()(server.second)
        assert maker.early == [True, False, False, True], "one group after what it did not know, as the first time"
