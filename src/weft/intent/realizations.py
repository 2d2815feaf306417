"""What realizers report, taken into the lives of the ports that it is about.

Reports may come late, twice and in any order: one of an epoch that has no binding any more changes nothing and is
noted, one that says nothing new leaves no trace.
"""

from collections.abc import Mapping, Sequence

from weft.intent.ports import write_life
from weft.model import steps
from weft.model.errors import Forbidden, Invalid
from weft.model.ids import Epoch, NodeName, PortId
from weft.model.intent import HistoryEntry, Realization, RealizationState, Realizer
from weft.ports import lifecycle
from weft.protocol.node import IgnoredReport, RealizationReport, ReportAnswer
from weft.store import PortView, Transaction

STEPS: Mapping[Realizer, frozenset[str]] = {
    Realizer.HOST: frozenset({steps.PLUGGED, steps.DETECTED, steps.FLOWS}),
    Realizer.FABRIC: frozenset({steps.SENT, steps.LEAF_FOUND, steps.CONFIGURED}),
    Realizer.CLOUD: frozenset(),
}
"""The steps that a realizer may tell of."""


def report(tx: Transaction, reports: Sequence[RealizationReport], *, actor: str, node: NodeName | None) -> ReportAnswer:
    """Take the reports of a node's agent, or (`node` None) of the fabric controller.

    Raises Forbidden if an agent reports for another node or realizer, Invalid for an unknown step; then nothing of the
    batch is taken. Reports that changed nothing because their epoch is over are in the answer.
    """
    ignored = [found for each in reports if (found := _take(tx, each, actor, node)) is not None]
    return ReportAnswer(revision=tx.revision_after(), ignored=tuple(ignored))


def _take(tx: Transaction, told: RealizationReport, actor: str, node: NodeName | None) -> IgnoredReport | None:
    _check_author(told, actor, node)
    view = tx.port(PortId(told.port_id))
    if view is None:
        return _ignored(told, None, "there is no such port (any more)")
    binding = view.life.binding(Epoch(told.epoch))
    if binding is None:
        return _stale(tx, view, told, actor, node)
    if node is not None and binding.node != node:
        message = f"epoch {told.epoch} of port {told.port_id} is on node '{binding.node}', not on '{node}'"
        raise Forbidden(f"{message}; an agent reports for its own node only")
    if told.realizer not in binding.owed:
        return _ignored(told, view, f"the binding needs nothing from realizer '{told.realizer}'")
    _note_steps(tx, view, told, actor)
    realization = Realization(
        port_id=view.port.id,
        epoch=binding.epoch,
        realizer=told.realizer,
        state=told.state,
        reason=told.reason,
        at=tx.clock(),
    )
    write_life(tx, view, lifecycle.realize(view.life, realization, now=tx.clock(), actor=actor))
    return None


def _check_author(told: RealizationReport, actor: str, node: NodeName | None) -> None:
    if node is not None and told.realizer is not Realizer.HOST:
        message = f"the agent of node '{node}' cannot report for realizer '{told.realizer}' (port {told.port_id})"
        raise Forbidden(f"{message}; it reports for 'host' only")
    for step in told.steps:
        if step.step not in STEPS[told.realizer]:
            known = ", ".join(sorted(STEPS[told.realizer])) or "none"
            message = f"'{step.step}' is not a step of realizer '{told.realizer}' (port {told.port_id}, {actor})"
            raise Invalid(f"{message}; known: {known}")


def _note_steps(tx: Transaction, view: PortView, told: RealizationReport, actor: str) -> None:
    if not told.steps:
        return
    known = {(entry.step, entry.at, entry.actor, entry.epoch) for entry in tx.history(view.port.id)}
    for step in told.steps:
        if (step.step, step.at, actor, told.epoch) in known:
            continue
        tx.add_history(
            HistoryEntry(
                port_id=view.port.id,
                at=step.at,
                actor=actor,
                step=step.step,
                epoch=Epoch(told.epoch),
                detail=step.detail,
            )
        )
        tx.note_port(view)


def _stale(
    tx: Transaction, view: PortView, told: RealizationReport, actor: str, node: NodeName | None
) -> IgnoredReport:
    """Note a report of an epoch that is over; the word that a past epoch is gone is what its node should say."""
    history = tx.history(view.port.id)
    was_here = node is None or any(
        entry.step == steps.BOUND and entry.epoch == told.epoch and entry.after == node for entry in history
    )
    if not was_here:
        return _ignored(told, None, f"the port had no epoch {told.epoch} on this node")
    noted = any(
        (entry.step, entry.epoch, entry.actor, entry.after) == (steps.STALE_REPORT, told.epoch, actor, told.state)
        for entry in history
    )
    if told.state is not RealizationState.GONE and not noted:
        tx.add_history(
            HistoryEntry(
                port_id=view.port.id,
                at=tx.clock(),
                actor=actor,
                step=steps.STALE_REPORT,
                epoch=Epoch(told.epoch),
                after=told.state,
                detail=f"ignored: {_present(view)}",
            )
        )
        tx.note_port(view)
    return _ignored(told, view, f"epoch {told.epoch} is over: {_present(view)}")


def _present(view: PortView) -> str:
    return f"the port is at epoch {view.life.epoch}" if view.life.current is not None else "the port is on no node"


def _ignored(told: RealizationReport, view: PortView | None, reason: str) -> IgnoredReport:
    return IgnoredReport(
        port_id=told.port_id,
        epoch=told.epoch,
        current_epoch=None if view is None else view.life.epoch,
        reason=reason,
    )
