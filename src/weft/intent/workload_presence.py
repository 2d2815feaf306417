"""What a node's agent has of workloads, held to what is bound there.

A port that the agent has not, by two of its statements with enough time between them, is released as its policy says.
It is told by its id and epoch, never by a name; and a node that says nothing loses nothing.
"""

from collections.abc import Collection, Mapping

import msgspec

from weft.intent.workload_names import OWNER
from weft.intent.workload_release import HOLDER, let_go
from weft.model.ids import Epoch, NodeName, PortId
from weft.protocol.workload import MISSING_S, WorkloadPresent
from weft.store import Kind, PortView, Snapshot, Transaction


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A port in an epoch on a node whose agent has not had it since then."""

    port_id: PortId
    project_id: str
    node: NodeName
    epoch: Epoch
    since: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement and the rows of a node say of each other."""

    missing: Mapping[PortId, Epoch]
    suspected: frozenset[PortId]
    """What an earlier statement lacked."""
    stray: tuple[str, ...]
    held_by_others: tuple[str, ...]


def compare(snapshot: Snapshot, node: NodeName, stated: Collection[WorkloadPresent]) -> Comparison:
    """Compare a statement with what is bound to its node."""
    views = {view.port.id: view for view in snapshot.ports(node=node) if view.port.device_owner == OWNER}
    present = {(each.port_id, each.epoch) for each in stated}
    strays = (each.port_id for each in stated if not _is_bound(views.get(PortId(each.port_id)), node, each))
    here = {id_: current for id_, view in views.items() if (current := view.life.current) and current.node == node}
    return Comparison(
        missing={id_: each.epoch for id_, each in here.items() if (id_, each.epoch) not in present},
        suspected=frozenset(each.port_id for each in snapshot.records(Kind.MISSING_WORKLOAD, Missing, parent=node)),
        stray=tuple(sorted(strays)),
        held_by_others=tuple(
            sorted(
                each.port_id
                for each in stated
                if (current := here.get(PortId(each.port_id))) is not None
                and current.epoch == each.epoch
                and current.profile.get(HOLDER, "") != each.holder
            )
        ),
    )


def settle(tx: Transaction, node: NodeName, found: Comparison) -> list[PortId]:
    """Note what is missing, forget what is not any more, release what has been missing for too long; return that."""
    now = tx.clock()
    released = []
    tx.look_ahead([*found.suspected, *found.missing])
    for port_id in found.suspected - found.missing.keys():
        seen(tx, port_id)
    for port_id, epoch in found.missing.items():
        view = tx.port(port_id)
        current = None if view is None else view.life.current
        if view is None or current is None or (current.node, current.epoch) != (node, epoch):
            seen(tx, port_id)  # it went while we looked
            continue
        before = tx.record(Kind.MISSING_WORKLOAD, Missing, port_id)
        if before is None or (before.node, before.epoch) != (node, epoch):
            missing = Missing(port_id=port_id, project_id=view.port.project_id, node=node, epoch=epoch, since=now)
            tx.put_record(Kind.MISSING_WORKLOAD, port_id, missing, project_id=missing.project_id, parent=node)
        elif now - before.since >= MISSING_S:
            seen(tx, port_id)
            let_go(tx, view, actor="workloads")
            released.append(port_id)
    return released


def seen(tx: Transaction, port_id: PortId) -> None:
    """Forget that a port was missing."""
    missing = tx.record(Kind.MISSING_WORKLOAD, Missing, port_id)
    if missing is not None:
        tx.delete_record(Kind.MISSING_WORKLOAD, port_id, project_id=missing.project_id)


def _is_bound(view: PortView | None, node: NodeName, stated: WorkloadPresent) -> bool:
    """Tell whether the node still has the port in this epoch, be it to carry it until another does."""
    binding = None if view is None else view.life.binding(Epoch(stated.epoch))
    return binding is not None and binding.node == node
