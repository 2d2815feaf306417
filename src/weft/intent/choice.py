"""Ports in any network that has the labels asked for: which one, and why.

Of the networks that the port's project may use, those count that have every label, lie in the site asked for, can be
carried to the node asked for, and have an address free. The one that keeps an address for the port's name is taken,
else the one with the most free addresses, so networks of one kind fill evenly; one that turns out to be full is passed
over for the next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from weft.intent.held import keeps
from weft.intent.placement import obstacle
from weft.intent.ports import API, PortSpec, create_port
from weft.intent.rbac import shared_ids
from weft.model import steps
from weft.model.errors import Conflict, Invalid, NotFound, WeftError
from weft.model.ids import SiteName
from weft.model.intent import HistoryEntry, Network, Subnet, is_trunk
from weft.model.sharing import Action, ObjectType
from weft.protocol.choice import ConsideredNetwork, NetworkChoice
from weft.store import PortView, Transaction

MAX_EXPLAINED = 20
"""Networks that an explanation names; the chosen one is always among them."""

CHOSEN = "chosen"
EMPTIER = "fewer free addresses than the one chosen"
NAMED = "it keeps no address for the port's name, as the one chosen does"

_FALL_THROUGH = frozenset(
    {"IpAddressGenerationFailure", "IpAddressAlreadyAllocated", "InvalidIpForNetwork", "MacAddressInUse"}
)
"""Failures that are one network's own: the next one may do. They come before anything is written."""


class ChosenPort(PortView, frozen=True):
    """A new port, and why it is in its network."""

    choice: NetworkChoice


@dataclass(slots=True)
class _Candidate:
    network: Network
    free: int
    verdict: str = ""
    keeps: bool = False
    """Whether it keeps an address for the port's name."""

    def shown(self, chosen: "_Candidate") -> ConsideredNetwork:
        return ConsideredNetwork(
            network_id=self.network.id,
            name=self.network.name,
            site=self.network.site,
            free=self.free,
            verdict=self.verdict or (NAMED if chosen.keeps and not self.keeps else EMPTIER),
        )


def create_port_by_labels(
    tx: Transaction,
    spec: PortSpec,
    labels: Mapping[str, str],
    *,
    site: SiteName | None = None,
    actor: str = API,
) -> ChosenPort:
    """Create a port as create_port does, in a network with all of `labels`; `spec.network_id` is not looked at.

    Raises NotFound (NoNetworkMatches) if no network of the project has the labels, Conflict (NoNetworkAvailable) if
    none of those that have them can take the port; the text says why each could not. Raises Invalid for no labels.
    """
    if not labels:
        raise Invalid("network_labels names no label: any network would do; name at least one, or a network_id")
    candidates = [_judged(tx, network, site, spec) for network in _labelled(tx, labels, spec.project_id)]
    if not candidates:
        raise NotFound(
            f"no network that project '{spec.project_id}' may use has the labels {written(labels)}; label one, "
            "or name a network_id",
            kind="NoNetworkMatches",
        )
    candidates.sort(key=lambda each: (bool(each.verdict), not each.keeps, -each.free, each.network.id))
    for candidate in candidates:
        if candidate.verdict:
            continue
        try:
            view = create_port(tx, msgspec.structs.replace(spec, network_id=candidate.network.id), actor=actor)
        except WeftError as error:
            if error.kind not in _FALL_THROUGH:
                raise
            candidate.verdict = error.message
        else:
            candidate.verdict = CHOSEN
            choice = NetworkChoice(
                labels=labels, network_id=candidate.network.id, considered=_explained(candidates, candidate)
            )
            _remember(tx, view, candidate, choice, actor)
            return ChosenPort(view.port, view.life, choice)
    raise _none_left(labels, candidates)


def written(labels: Mapping[str, str]) -> str:
    """Return labels as people write them."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def usable_networks(tx: Transaction, project_id: str) -> Iterator[Network]:
    """Yield the networks that a project may have ports in: its own, and those that are shared with it."""
    let = shared_ids(tx, ObjectType.NETWORK, Action.ACCESS_AS_SHARED, project_id)
    for network in tx.networks():
        if network.shared or network.project_id == project_id or network.id in let:
            yield network


def _labelled(tx: Transaction, labels: Mapping[str, str], project_id: str) -> Iterator[Network]:
    for network in usable_networks(tx, project_id):
        if all(network.labels.get(key) == value for key, value in labels.items()):
            yield network


def _judged(tx: Transaction, network: Network, site: SiteName | None, spec: PortSpec) -> _Candidate:
    """Return a candidate with what excludes it, if anything does."""
    if site is not None and network.site != site:
        return _Candidate(network, 0, f"it is in site '{network.site}', not in '{site}'")
    if (
        spec.node is not None
        and (hindrance := obstacle(tx, network, spec.node, trunk=is_trunk(spec.profile))) is not None
    ):
        return _Candidate(network, 0, hindrance.message)
    subnets = tx.subnets(network.id)
    if not subnets:
        return _Candidate(network, 0, "it has no subnet")
    free = min(_free(tx, family) for family in _families(subnets))
    kept = keeps(tx, network, spec.project_id, spec.name, tx.clock())
    return _Candidate(network, free, "" if free or kept else "no address is free", kept)


def _families(subnets: Sequence[Subnet]) -> list[list[Subnet]]:
    families = [[subnet for subnet in subnets if subnet.cidr.version == version] for version in (4, 6)]
    return [family for family in families if family]


def _free(tx: Transaction, subnets: Sequence[Subnet]) -> int:
    """Return how many addresses of some subnets are free now, those that have rested long enough included."""
    found = 0
    for subnet in subnets:
        pool = tx.pool(subnet)
        if pool.free <= 0 and pool.resting:
            # An allocator wakes what has rested when it is asked for an address, and not before.
            number = tx.take_address(subnet)
            if number is not None:
                pool.release(number)
        found += max(0, pool.free)
    return found


def _explained(candidates: Sequence[_Candidate], chosen: _Candidate) -> tuple[ConsideredNetwork, ...]:
    first = candidates[:MAX_EXPLAINED]
    if chosen not in first:
        first = [*first[:-1], chosen]
    return tuple(each.shown(chosen) for each in first)


def _remember(tx: Transaction, view: PortView, chosen: _Candidate, choice: NetworkChoice, actor: str) -> None:
    detail = f"{chosen.network.name or chosen.network.id} by {written(choice.labels)}: {chosen.free} addresses free"
    entry = HistoryEntry(port_id=view.port.id, at=tx.clock(), actor=actor, step=steps.NETWORK_CHOSEN, detail=detail)
    tx.add_history(entry)


def _none_left(labels: Mapping[str, str], candidates: Sequence[_Candidate]) -> Conflict:
    named = candidates[:MAX_EXPLAINED]
    reasons = "; ".join(f"{each.network.name or each.network.id}: {each.verdict}" for each in named)
    more = f"; and {len(candidates) - MAX_EXPLAINED} more" if len(candidates) > MAX_EXPLAINED else ""
    message = f"none of the networks with the labels {written(labels)} can take the port: {reasons}{more}"
    return Conflict(message, kind="NoNetworkAvailable")
