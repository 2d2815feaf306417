"""Sweeping: what is over goes little by little, all of it in the end, and nothing that is needed still."""

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa
from core_world import Clock, World, world

from weft.intent.addresses import QUARANTINE_S
from weft.intent.ports import delete_port
from weft.store import schema, sweeping

PORTS = 7
AT_ONCE = 2
_TABLES = (schema.resting_ips, schema.released_ports, schema.history)


async def counts(w: World) -> list[int]:
    """Return how many addresses rest, ports were deleted, and histories are kept of those."""
    statements = [sa.select(sa.func.count()).select_from(table) for table in _TABLES]
    return await w.store.read(lambda snapshot: [snapshot.run(each).fetchone()[0] for each in statements])


async def log_length(w: World) -> int:
    statement = sa.select(sa.func.count(schema.changes.c.revision.distinct()))
    return int(await w.store.read(lambda snapshot: snapshot.run(statement).fetchone()[0]))


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sweeps that take two of everything."""
    monkeypatch.setattr(sweeping, "AT_ONCE", AT_ONCE)
    monkeypatch.setattr(sweeping, "PORTS_AT_ONCE", AT_ONCE)


@pytest.mark.usefixtures("little")
async def test_a_crowd_that_went_at_once_is_forgotten_little_by_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 1)
    async with world(tmp_path) as w:
        network, _ = await w.segment()
        views = [await w.port(network.id) for _ in range(PORTS)]
        for view in views:
            await w.store.transact(lambda tx, id_=view.port.id: delete_port(tx, id_))  # type: ignore[misc]
        resting, released, _ = await counts(w)
        assert (resting, released) == (PORTS, PORTS)
        w.clock.advance(QUARANTINE_S + 1)
        for left in (5, 3, 1, 0, 0):
            await w.network()
            assert await counts(w) == [left, PORTS, (await counts(w))[2]]
        w.clock.advance(sweeping.RELEASED_HISTORY_S)
        for left in (5, 3, 1, 0, 0):
            await w.network()
            assert (await counts(w))[:2] == [0, left]
            histories = [await w.store.read(lambda s, id_=view.port.id: s.history(id_)) for view in views]  # type: ignore[misc]
            assert sum(map(bool, histories)) == left


@pytest.mark.usefixtures("little")
async def test_a_sweep_that_has_not_reached_the_end_goes_on_with_the_next_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        for _ in range(20):
            await w.network()
    monkeypatch.setattr(sweeping, "LOG_KEPT", 4)
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 20)
    async with world(tmp_path, w.clock) as w:
        lengths = []
        for _ in range(15):
            await w.network()
            lengths.append(await log_length(w))
        shrinking = [before - after for before, after in itertools.pairwise(lengths) if after < before]
        assert shrinking
        assert max(shrinking) == AT_ONCE - 1  # and one came
        low = lengths.index(min(lengths))
        assert lengths[low] <= 6
        assert lengths[low:] == list(range(lengths[low], lengths[low] + len(lengths) - low))  # until the next is due


@pytest.mark.usefixtures("little")
async def test_an_address_that_rests_again_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_EVERY", 1)
    clock = Clock()
    async with world(tmp_path, clock) as w:
        network, _ = await w.segment()
        view = await w.port(network.id)
        [held] = view.port.fixed_ips
        await w.store.transact(lambda tx: delete_port(tx, view.port.id))
        clock.advance(QUARANTINE_S + 1)

        await w.store.transact(
            lambda tx: tx.rest_address(tx.subnets(network.id)[0], held.address, tx.clock() + QUARANTINE_S)
        )
        assert (await counts(w))[0] == 1
        await w.network()
        assert (await counts(w))[0] == 1
