"""What becomes of writes that go in one transaction."""

import asyncio
from collections.abc import Sequence

from weft.agent.cni.ledger import Ledger
from weft.agent.ovs.tables import Operation, Tables
from weft.model.errors import Permanent, Transient


class Rows:
    """Refuses what holds `bad`, and breaks on `odd` once it comes alone."""

    def __init__(self) -> None:
        self.tables: Tables | None = {}
        self.connected = True
        self.taken: list[list[str]] = []

    async def transact(self, operations: Sequence[Operation]) -> None:
        await asyncio.sleep(0)
        words = [each["op"] for each in operations]
        if "bad" in words:
            raise Permanent("ovsdb-server refused it")
        if words == ["odd"]:
            raise RuntimeError("a defect")
        self.taken.append(words)


async def outcome(ledger: Ledger, word: str) -> type[BaseException] | None:
    try:
        async with asyncio.timeout(5.0):
            await ledger.write([{"op": word}])
    except (Permanent, Transient, TimeoutError) as error:
        return type(error)
    return None


async def test_each_hears_what_became_of_its_own_write_whatever_that_is() -> None:
    rows = Rows()
    ledger = Ledger(rows)
    words = ("first", "good", "bad", "odd", "last")
    found = await asyncio.gather(*(outcome(ledger, word) for word in words))
    assert dict(zip(words, found, strict=True)) == {
        "first": None, "good": None, "bad": Permanent, "odd": Transient, "last": None
    }  # fmt: skip
    assert rows.taken[-1] == ["last"]
    assert await outcome(ledger, "after") is None


async def test_what_comes_during_a_transaction_goes_with_the_next() -> None:
    rows = Rows()
    ledger = Ledger(rows)
    first = asyncio.create_task(outcome(ledger, "first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [outcome(ledger, word) for word in ("a", "b")]
    assert await asyncio.gather(first, *rest) == [None, None, None]
    assert rows.taken == [["first"], ["a", "b"]]
