"""LeafTable: what the networks of one leaf put on it, kept so that a change of one network costs that network.

Each network gives its part: a segment, perhaps a VRF, and attachments. Were frames of an interface claimed twice, the
first network, by id, would have them; a network that has none of the frames that it claims puts nothing on the leaf.
The tables depend on the present parts alone, never on the order in which they came.
"""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from typing import Generic, TypeVar

import msgspec

from weft.fabric.config import Attachment, Segment, Vrf
from weft.model.ids import NetworkId

V = TypeVar("V", Segment, Vrf)


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one network puts on a leaf."""

    segment: Segment
    vrf: Vrf | None
    attachments: tuple[Attachment, ...]


class _Shown(msgspec.Struct, frozen=True, gc=False):
    """What of a network's part is on the leaf: attachments that are its own, and whether it carries frames at all."""

    attachments: tuple[Attachment, ...]
    carries: bool


_NOTHING = _Shown((), carries=False)


class LeafTable:
    """The parts of a leaf's networks, and the sorted tables that they add up to."""

    def __init__(self) -> None:
        self._parts: dict[NetworkId, Part] = {}
        self._shown: dict[NetworkId, _Shown] = {}
        self._claimants: dict[int, set[NetworkId]] = defaultdict(set)
        self._attachments: list[Attachment] = []
        self._segments = _Counted[Segment]()
        self._vrfs = _Counted[Vrf]()

    def put(self, network_id: NetworkId, part: Part | None) -> None:
        """Take a network's present part; None: it has none here."""
        old = self._parts.get(network_id)
        if old == part:
            return
        vlans = _vlans(old) | _vlans(part)
        # Others that claim frames with the same VLAN may win or lose them; nearly always there are none.
        touched = {network_id}.union(*(self._claimants[vlan] for vlan in vlans))
        for each in touched:
            self._hide(each)
        for vlan in _vlans(old):
            self._claimants[vlan].discard(network_id)
        if part is None:
            del self._parts[network_id]
        else:
            self._parts[network_id] = part
            for vlan in _vlans(part):
                self._claimants[vlan].add(network_id)
        for each in touched & self._parts.keys():
            self._show(each)
        for vlan in vlans:
            if not self._claimants[vlan]:
                del self._claimants[vlan]

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the attachments, sorted."""
        return tuple(self._attachments)

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments, sorted."""
        return self._segments.values()

    def vrfs(self) -> tuple[Vrf, ...]:
        """Return the VRFs, sorted."""
        return self._vrfs.values()

    def _hide(self, network_id: NetworkId) -> None:
        shown = self._shown.pop(network_id, _NOTHING)
        for attachment in shown.attachments:
            del self._attachments[bisect_left(self._attachments, attachment)]
        if shown.carries:
            part = self._parts[network_id]
            self._segments.discard(part.segment)
            if part.vrf is not None:
                self._vrfs.discard(part.vrf)

    def _show(self, network_id: NetworkId) -> None:
        part = self._parts[network_id]
        shown = self._shown[network_id] = self._visible(network_id, part)
        for attachment in shown.attachments:
            insort(self._attachments, attachment)
        if shown.carries:
            self._segments.add(part.segment)
            if part.vrf is not None:
                self._vrfs.add(part.vrf)

    def _visible(self, network_id: NetworkId, part: Part) -> _Shown:
        if all(len(self._claimants[vlan]) == 1 for vlan in _vlans(part)):
            return _Shown(part.attachments, carries=bool(part.attachments))
        own, carries = [], False
        for attachment in part.attachments:
            winner, won = self._winner(attachment)
            carries = carries or won == attachment
            if winner == network_id:
                own.append(attachment)
        return _Shown(tuple(own), carries=carries)

    def _winner(self, claimed: Attachment) -> tuple[NetworkId, Attachment]:
        """Return the first network, by id, that claims the frames of an attachment, and its attachment of them."""
        return min(
            (claimant, attachment)
            for claimant in self._claimants[claimed.vlan]
            for attachment in self._parts[claimant].attachments
            if (attachment.interface, attachment.vlan) == (claimed.interface, claimed.vlan)
        )


class _Counted(Generic[V]):
    """A sorted set to which several may add the same value; it is there until the last of them takes it away."""

    def __init__(self) -> None:
        self._counts: Counter[V] = Counter()
        self._sorted: list[V] = []

    def add(self, value: V) -> None:
        self._counts[value] += 1
        if self._counts[value] == 1:
            insort(self._sorted, value)

    def discard(self, value: V) -> None:
        self._counts[value] -= 1
        if not self._counts[value]:
            del self._counts[value]
            del self._sorted[bisect_left(self._sorted, value)]

    def values(self) -> tuple[V, ...]:
        return tuple(self._sorted)


def _vlans(part: Part | None) -> set[int]:
    return {attachment.vlan for attachment in part.attachments} if part is not None else set()
