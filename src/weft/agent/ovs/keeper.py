"""Keeps a bridge's flows equal to what is wanted: read, difference, one bundle, read back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from weft.agent.ovs.flow import Flow, Key
from weft.agent.ovs.pipeline import Flows
from weft.agent.ovs.plan import FlowChange, Groups, difference
from weft.model.errors import Permanent, Transient

MAX_READ_BACK_COOKIES = 64
"""More changed owners than these are read back by reading everything."""

RETRY_AFTER_S = 0.1

log = structlog.get_logger()


class FlowTables(Protocol):
    """A bridge's tables; weft.agent.ovs.switch.FlowSwitch is one."""

    @property
    def connected(self) -> bool: ...

    async def dump(self, cookies: Sequence[int] | None = None) -> list[Flow]: ...

    async def commit(self, change: FlowChange, *, wipe: bool = False) -> None: ...


class FlowKeeper:
    """The flows of one bridge, as last read and changed since.

    Everything is read after a start, after ovs-vswitchd went away, after any error, and when `distrust` says so;
    otherwise only owners whose flows changed cost anything.
    """

    def __init__(self, bridge: str, tables: FlowTables) -> None:
        self._bridge = bridge
        self._tables = tables
        self._actual: dict[Key, Flow] | None = None
        self._groups: Groups | None = None
        """What the bridge holds exactly; None: it may hold own flows besides."""

    @property
    def trusted(self) -> bool:
        """Whether the flows are known, and nothing happened that may have changed them."""
        return self._actual is not None and self._tables.connected

    def distrust(self) -> None:
        """Read everything at the next occasion."""
        self._actual = None

    async def reach(self, groups: Groups, *, prune: bool) -> dict[str, str]:
        """Make the bridge hold the groups, and return, by owner, what it refused. Own flows outside go if `prune`.

        Raises Transient if the switch does not answer or the flows do not read back.
        """
        try:
            return await self._reach(groups, prune=prune)
        except BaseException:
            self.distrust()
            raise

    async def _reach(self, groups: Groups, *, prune: bool) -> dict[str, str]:
        known = self._groups if self.trusted else None
        if self._actual is None or not self.trusted:
            self._actual = await self._read(groups, prune=prune)
        owners = _changed(groups, known)
        wanted = {flow.key: flow for owner in owners for flow in groups.get(owner, ())}
        held = self._actual
        if known is not None:
            held = _held(self._actual, wanted, (known.get(owner, ()) for owner in owners))
        change = difference(wanted, held, prune=prune)
        if change:
            try:
                await self._tables.commit(change)
            except Permanent as error:
                log.warning("flows_refused", bridge=self._bridge, error=error.message)
                return await self._one_by_one(groups, prune=prune)
            await self._read_back(self._actual, change)
            log.info("flows_changed", bridge=self._bridge, added=len(change.add), deleted=len(change.delete))
        self._groups = groups if prune else None
        return {}

    async def _read(self, groups: Groups, *, prune: bool) -> dict[Key, Flow]:
        """Read all own flows. Those of a later version of weft may be unreadable: replace all, as one, at once."""
        try:
            return {flow.key: flow for flow in await self._tables.dump()}
        except Permanent as error:
            log.warning("flows_unreadable", bridge=self._bridge, error=error.message)
            wanted = tuple(flow for flows in groups.values() for flow in flows)
            await self._tables.commit(FlowChange(wanted), wipe=prune)
            return {flow.key: flow for flow in wanted}

    async def _one_by_one(self, groups: Groups, *, prune: bool) -> dict[str, str]:
        """After a refusal of everything, find out whose flows it is, so that nobody else has to wait for them."""
        refused: dict[str, str] = {}
        actual = {flow.key: flow for flow in await self._tables.dump()}
        everything = {flow.key: flow for flows in groups.values() for flow in flows}
        await self._tables.commit(FlowChange(delete=difference(everything, actual, prune=prune).delete))
        for owner, flows in groups.items():
            change = difference({flow.key: flow for flow in flows}, actual, prune=False)
            if change:
                try:
                    await self._tables.commit(change)
                except Permanent as error:
                    refused[owner] = error.message
        self.distrust()
        return refused

    async def _read_back(self, actual: dict[Key, Flow], change: FlowChange) -> None:
        """Compare what the switch holds now with what it was told; raise Transient if it differs."""
        for flow in change.delete:
            actual.pop(flow.key, None)
        actual.update((flow.key, flow) for flow in change.add)
        cookies = sorted({flow.cookie for flow in (*change.add, *change.delete)})
        few = len(cookies) <= MAX_READ_BACK_COOKIES
        held = {flow.key: flow for flow in await self._tables.dump(cookies if few else None)}
        wrong = [flow for flow in change.add if held.get(flow.key) != flow]
        wrong += [flow for flow in change.delete if flow.key in held]
        if wrong:
            text = f"{self._bridge}: {len(wrong)} flows did not read back as written, the first is {wrong[0]}"
            raise Transient(text, retry_after_s=RETRY_AFTER_S)


def _changed(groups: Groups, known: Groups | None) -> Iterable[str]:
    if known is None:
        return groups
    gone = [owner for owner in known if owner not in groups]
    return [*gone, *(owner for owner, flows in groups.items() if known.get(owner) is not flows)]


def _held(actual: Mapping[Key, Flow], wanted: Iterable[Key], groups: Iterable[Flows]) -> dict[Key, Flow]:
    keys = {*wanted, *(flow.key for flows in groups for flow in flows)}
    return {key: actual[key] for key in keys if key in actual}
