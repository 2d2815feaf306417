"""What becomes of a workload's port when its container is gone: deleted, or held for the name, for a time or for ever.

A port that is held until something happens has a record that says what. The record is of one epoch of the port: if a
container has taken the port up since, it says nothing.
"""

from collections.abc import Iterable, Mapping

import msgspec

from weft.intent.ports import delete_port, remove_port, unbind_port
from weft.intent.workload_names import OWNER, is_named
from weft.model.errors import Invalid
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import Network
from weft.model.retention import NEVER, NOW, RELEASE_LABEL, Retention, Until, parse_retention
from weft.store import Kind, PortView, Snapshot, Transaction

HOLDER, EPHEMERAL, RELEASE = "holder", "ephemeral", "release"
"""What the profile of a workload's binding says of it."""


class HeldWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's port that no container holds, and what it waits for; `until` is Unix time, None: for its object."""

    port_id: PortId
    project_id: str
    name: str
    epoch: Epoch
    since: float
    until: float | None = None

    @property
    def cluster(self) -> str:
        """The first part of the name, as the agents of a Kubernetes cluster name workloads: cluster/namespace/pod."""
        return self.name.partition("/")[0]


def retention_of(network: Network | None, profile: Mapping[str, object]) -> Retention:
    """Return what becomes of a port: what its container said, else what its network says, else what its kind does."""
    said = profile.get(RELEASE) or (network.labels.get(RELEASE_LABEL) if network is not None else None)
    if said:
        try:
            return parse_retention(str(said))
        except Invalid:
            pass  # a label from before it was checked: as if there were none
    return NOW if profile.get(EPHEMERAL) else NEVER


def let_go(tx: Transaction, view: PortView, *, actor: str) -> Retention:
    """Take a port from the container that holds it, and do what is to be done with it then; return what that was."""
    binding = view.life.current
    assert binding is not None, view.port.id
    policy = retention_of(tx.network(view.port.network_id), binding.profile)
    if policy.until is not Until.NOW and not is_named(tx, view.port):
        policy = NOW  # it is kept for no name
    if policy.until is Until.NOW:
        remove_port(tx, view, actor=actor)
        return policy
    unbind_port(tx, view.port.id, actor=actor)
    if policy.until is not Until.NEVER:
        now = tx.clock()
        held = HeldWorkload(
            port_id=view.port.id,
            project_id=view.port.project_id,
            name=view.port.name,
            epoch=view.life.epoch,
            since=now,
            until=now + policy.hold_s if policy.until is Until.TIME else None,
        )
        name = Until.WITH_OBJECT if held.until is None else _due(held.until)
        tx.put_record(
            Kind.HELD_WORKLOAD, held.port_id, held, project_id=held.project_id, name=name, parent=held.cluster
        )
    return policy


def drop_warm(tx: Transaction, views: Iterable[PortView], limit: int = 1) -> list[PortId]:
    """Delete ports that wait for containers, if all are such: they are nobody's, and keep nobody from deleting what
    they are in. Otherwise return up to so many of the others; no more is read of `views` than tells."""
    warm: list[PortId] = []
    others: list[PortId] = []
    for view in views:
        (warm if view.port.device_owner == OWNER and not view.port.name else others).append(view.port.id)
        if len(others) == limit:
            break
    if not others:
        tx.look_ahead(warm)
        for port_id in dict.fromkeys(warm):
            delete_port(tx, port_id, actor="workloads")
    return others


def take_up(tx: Transaction, port_id: PortId) -> None:
    """A container has a port again that was held."""
    held = tx.record(Kind.HELD_WORKLOAD, HeldWorkload, port_id)
    if held is not None:
        tx.delete_record(Kind.HELD_WORKLOAD, port_id, project_id=held.project_id)


def held_for_objects(snapshot: Snapshot, cluster: str | None = None) -> list[HeldWorkload]:
    """Return what is held until its object is gone, in all clusters or in one, ordered by port."""
    found = snapshot.records(Kind.HELD_WORKLOAD, HeldWorkload, name=Until.WITH_OBJECT, parent=cluster)
    views = {view.port.id: view for view in snapshot.ports(ids=[each.port_id for each in found])}
    return [each for each in found if _is_held(views.get(each.port_id), each.epoch)]


def release_held(tx: Transaction, port_id: PortId, epoch: Epoch, *, actor: str) -> bool:
    """Delete a port that is held still, in the epoch that it was seen in; tell whether it was."""
    view = tx.port(port_id)
    held = tx.record(Kind.HELD_WORKLOAD, HeldWorkload, port_id)
    if held is None or held.epoch != epoch or not _is_held(view, epoch):
        return False
    delete_port(tx, port_id, actor=actor)
    return True


def release_lost(tx: Transaction, node: NodeName, port_id: PortId, epoch: Epoch, *, actor: str) -> bool:
    """Let go of a port of a node that is gone, if it is there still in the epoch that it was seen in; tell whether.

    For who knows that the node will not come back with it: an operator, an orchestrator. The node itself says nothing.
    """
    view = tx.port(port_id)
    current = None if view is None or view.port.device_owner != OWNER else view.life.current
    if view is None or current is None or (current.node, current.epoch) != (node, epoch):
        return False
    let_go(tx, view, actor=actor)
    return True


def overdue(snapshot: Snapshot, now: float, limit: int) -> list[HeldWorkload]:
    """Return up to so many of the ports whose time is over, that of the first longest."""
    return snapshot.records_below(Kind.HELD_WORKLOAD, HeldWorkload, name=_due(now), limit=limit)


def release_due(tx: Transaction, limit: int) -> int:
    """Delete up to so many of the ports whose time is over; return how many times were over."""
    found = overdue(tx, tx.clock(), limit)
    tx.look_ahead([held.port_id for held in found])
    for held in found:
        if not release_held(tx, held.port_id, held.epoch, actor="workloads"):
            take_up(tx, held.port_id)  # a container took it up, or somebody deleted it
    return len(found)


def _due(until: float) -> str:
    """Return a time as a name of records, such that names are in order of time, and before every word."""
    return f"{int(until * 1000):016d}"


def _is_held(view: PortView | None, epoch: Epoch) -> bool:
    return (
        view is not None and view.port.device_owner == OWNER and view.life.current is None and view.life.epoch == epoch
    )
