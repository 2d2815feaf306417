"""What realizers report, taken into the lifecycles of the ports it is about."""

from collections.abc import Sequence

from weft.model.ids import NodeName
from weft.protocol.node import RealizationReport, ReportAnswer
from weft.store import Transaction


def report(tx: Transaction, reports: Sequence[RealizationReport], *, actor: str, node: NodeName | None) -> ReportAnswer:
    """Take reports of a node's agent, or of the fabric controller (`node` None)."""
    raise NotImplementedError
