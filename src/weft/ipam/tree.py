"""The plan of one routing domain as a tree: each prefix lies in the smallest one around it, and overlaps no other.

The shape follows from the prefixes alone, so the same delegations make the same tree in whatever order they came;
a prefix that is planned above existing ones takes them in. Prefixes of equal extent nest by their owners' levels: a
network's only subnet may fill what was delegated to the network.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import summarize_address_range
from typing import Any, cast

import msgspec

from weft.model.addresses import IPNetwork
from weft.model.errors import Conflict, Invalid, NotFound
from weft.model.intent import overlap
from weft.model.plan import RANK, Delegation, Level

Key = tuple[int, int, int, int]


class Tree:
    """The delegations of one domain. A value: each operation returns a new tree, or raises and changes nothing."""

    def __init__(self, delegations: Iterable[Delegation] = ()) -> None:
        """Arrange delegations that were checked when they were made; `problems` checks them again."""
        self._ordered = sorted(delegations, key=_key)
        self._keys = [_key(each) for each in self._ordered]
        self._by_id = {each.id: each for each in self._ordered}
        self._parents: dict[str, Delegation | None] = {}
        self._children: dict[str | None, list[Delegation]] = {None: []}
        above: list[Delegation] = []
        for each in self._ordered:
            while above and not _holds(above[-1].cidr, each.cidr):
                above.pop()
            parent = above[-1] if above else None
            self._parents[each.id] = parent
            self._children.setdefault(each.id, [])
            self._children[parent.id if parent else None].append(each)
            above.append(each)

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[Delegation]:
        """Yield every delegation, parents before what lies in them, in the order of addresses."""
        return iter(self._ordered)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._by_id

    def find(self, id_: str) -> Delegation:
        """Return a delegation; raise NotFound."""
        found = self._by_id.get(id_)
        if found is None:
            raise NotFound(f"there is no prefix {id_} in the plan; `weft plan show` lists all", kind="PrefixNotFound")
        return found

    def parent(self, id_: str) -> Delegation | None:
        """Return the smallest prefix around one; None at the top."""
        return self._parents[id_]

    def children(self, id_: str | None) -> Sequence[Delegation]:
        """Return what lies directly in a prefix, in the order of addresses; None: what lies in no other."""
        return self._children[id_]

    def below(self, id_: str) -> Iterator[Delegation]:
        """Yield all that lies in a prefix, parents first."""
        for child in self._children[id_]:
            yield child
            yield from self.below(child.id)

    def depth(self, id_: str) -> int:
        """Return how many prefixes are around one."""
        parent = self._parents[id_]
        return 0 if parent is None else 1 + self.depth(parent.id)

    def around(self, cidr: IPNetwork, level: Level = Level.SUBNET) -> Delegation | None:
        """Return the smallest prefix that a delegation of this extent and level would lie in."""
        at = bisect_left(self._keys, _place(cidr, level))
        found = self._ordered[at - 1] if at else None
        while found is not None and not _holds(found.cidr, cidr):
            found = self._parents[found.id]
        return found

    def within(self, cidr: IPNetwork, level: Level = Level.SUBNET) -> list[Delegation]:
        """Return what would lie directly in a delegation of this extent and level."""
        around = self.around(cidr, level)
        siblings = self._children[around.id if around else None]
        place = _place(cidr, level)
        return [each for each in siblings if _key(each) >= place and _holds(cidr, each.cidr)]

    def delegate(self, new: Delegation) -> "Tree":
        """Return the tree with one more prefix; raise Conflict if another owner has it, or a part of it."""
        for other in self._ordered[bisect_left(self._keys, _key(new)) :]:
            if _key(other) != _key(new):
                break
            raise _twice(new, other)
        around = self.around(new.cidr, new.level)
        if around is not None and not _may_hold(around.level, new.level):
            raise _clash(new, around)
        for inner in self.within(new.cidr, new.level):
            if not _may_hold(new.level, inner.level):
                raise _clash(new, inner)
        return Tree([*self._ordered, new])

    def take_in(self, new: Iterable[Delegation]) -> tuple["Tree", list[tuple[Delegation, Conflict]]]:
        """Return the tree with all that fits of many new prefixes, and what does not, with why.

        Of two new ones that clash the smaller is refused; what is in the tree already stays.
        """
        taken: list[Delegation] = []
        refused: list[tuple[Delegation, Conflict]] = []
        above: list[Delegation] = []
        # The sort is stable: of prefixes with the same key the one that is there comes first.
        for each in sorted([*self._ordered, *new], key=_key):
            while above and not _fits(above[-1], each):
                outer = above[-1]
                if not _holds(outer.cidr, each.cidr):
                    above.pop()
                elif each.id not in self:
                    clash = _twice(each, outer) if _key(each) == _key(outer) else _clash(each, outer)
                    refused.append((each, clash))
                    break
                else:  # A new prefix would hold one that it may not: what lies in it fits around it as well.
                    refused.append((outer, _clash(outer, each)))
                    taken.remove(above.pop())
            else:
                above.append(each)
                taken.append(each)
        return Tree(taken), refused

    def free(self, id_: str) -> "Tree":
        """Return the tree without a prefix; raise Conflict while anything lies in it."""
        found = self.find(id_)
        if children := self._children[id_]:
            message = f"{found} holds {_some(children)}; free what lies in it first"
            raise Conflict(message, kind="PrefixInUse")
        return Tree(each for each in self._ordered if each.id != id_)

    def resize(self, id_: str, cidr: IPNetwork) -> "Tree":
        """Return the tree with a prefix grown or shrunk; raise Conflict if it would lose or take in another."""
        found = self.find(id_)
        if not (_holds(cidr, found.cidr) or _holds(found.cidr, cidr)):
            message = f"{found.cidr} cannot become {cidr}: a prefix grows or shrinks around its addresses"
            raise Invalid(f"{message}; delegate {cidr} anew instead", kind="InvalidPrefix")
        lost = [each for each in self._children[id_] if not _holds(cidr, each.cidr)]
        if lost:
            raise Conflict(f"{found} holds {_some(lost)}, outside {cidr}; free that first", kind="PrefixInUse")
        parent = self._parents[id_]
        if parent is not None and not _holds(parent.cidr, cidr):
            message = f"{cidr} is larger than {parent} around it; resize that first"
            raise Conflict(message, kind="PrefixOutside")
        taken = [each for each in self.children(parent.id if parent else None) if each.id != id_]
        if swallowed := [each for each in taken if overlap(each.cidr, cidr)]:
            raise Conflict(f"{cidr} would take in {_some(swallowed)}", kind="PrefixOverlap")
        return self.replace(msgspec.structs.replace(found, cidr=cidr))

    def replace(self, new: Delegation) -> "Tree":
        """Return the tree with a delegation in the place of the one of its id; raise as `delegate`."""
        return Tree(each for each in self._ordered if each.id != new.id).delegate(new)

    def take_out(self, id_: str) -> tuple["Tree", list[Delegation]]:
        """Return the tree without a prefix and all that lies in it, and these, parents first."""
        gone = [self.find(id_), *self.below(id_)]
        ids = {each.id for each in gone}
        return Tree(each for each in self._ordered if each.id not in ids), gone

    def gaps(self, id_: str) -> Iterator[IPNetwork]:
        """Yield the largest prefixes of a delegation that nothing lies in, in the order of addresses."""
        outer = self.find(id_).cidr
        start, end = int(outer.network_address), int(outer.broadcast_address)
        for child in self._children[id_]:
            first, last = int(child.cidr.network_address), int(child.cidr.broadcast_address)
            yield from _prefixes(outer, start, first - 1)
            start = last + 1
        yield from _prefixes(outer, start, end)

    def gap(self, id_: str, prefixlen: int) -> IPNetwork | None:
        """Return free space of a length in a prefix, cut from the smallest gap that has it: large ones stay whole."""
        outer = self.find(id_).cidr
        if not outer.prefixlen <= prefixlen <= outer.max_prefixlen:
            message = f"/{prefixlen} does not fit into {outer}"
            raise Invalid(f"{message}: ask for /{outer.prefixlen} to /{outer.max_prefixlen}", kind="InvalidPrefix")
        fitting = [gap for gap in self.gaps(id_) if gap.prefixlen <= prefixlen]
        if not fitting:
            return None
        tightest = max(fitting, key=lambda gap: (gap.prefixlen, -int(gap.network_address)))
        parts = cast("Iterator[IPNetwork]", tightest.subnets(new_prefix=prefixlen))
        return next(parts)

    def delegated(self, id_: str) -> int:
        """Return how many addresses of a prefix are delegated further."""
        return sum(child.cidr.num_addresses for child in self._children[id_])

    def problems(self) -> list[str]:
        """Return every delegation that may not stand where it stands."""
        found = []
        for before, after in zip(self._ordered, self._ordered[1:], strict=False):
            if _key(before) == _key(after):
                found.append(f"{after.cidr} is delegated twice: to {before.owner} and to {after.owner}")
        for each in self._ordered:
            parent = self._parents[each.id]
            if parent is not None and _key(parent) != _key(each) and not _may_hold(parent.level, each.level):
                found.append(f"{each} lies in {parent}, which a {each.level} may not")
        return found


def _may_hold(outer: Level, inner: Level) -> bool:
    """Tell whether space of one level may be divided among owners of another."""
    if outer is Level.RESERVED:
        return False
    return outer is Level.GLOBAL or RANK[outer] < RANK[inner]


def _place(cidr: IPNetwork, level: Level) -> Key:
    return (cidr.version, int(cidr.network_address), cidr.prefixlen, RANK[level])


def _key(delegation: Delegation) -> Key:
    """Sort parents before what lies in them; equal extents by level."""
    return _place(delegation.cidr, delegation.level)


def _holds(outer: IPNetwork, inner: IPNetwork) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and outer.overlaps(inner)


def _prefixes(like: IPNetwork, first: int, last: int) -> Iterator[IPNetwork]:
    """Yield the prefixes that make up a range of addresses; none if it is empty."""
    if first > last:
        return
    base, offset = like.network_address, int(like.network_address)
    summarize: Any = summarize_address_range  # its signature knows no union of the families
    yield from summarize(base + (first - offset), base + (last - offset))


def _fits(outer: Delegation, inner: Delegation) -> bool:
    return _holds(outer.cidr, inner.cidr) and _may_hold(outer.level, inner.level) and _key(outer) != _key(inner)


def _twice(new: Delegation, other: Delegation) -> Conflict:
    return Conflict(f"{new.cidr} is delegated to {other.owner} already", kind="PrefixDelegated")


def _clash(new: Delegation, other: Delegation) -> Conflict:
    relation = "lies in" if _key(other) < _key(new) else "holds"
    message = f"{new} {relation} {other}: a prefix has one owner"
    if other.level is Level.RESERVED:
        message += f", and this is kept free ({other.description or other.name or 'no reason given'})"
    return Conflict(f"{message}. Choose space that is free, or an isolated domain", kind="PrefixOverlap")


def _some(delegations: Sequence[Delegation], most: int = 5) -> str:
    more = f" and {len(delegations) - most} more" if len(delegations) > most else ""
    return ", ".join(str(each) for each in delegations[:most]) + more
