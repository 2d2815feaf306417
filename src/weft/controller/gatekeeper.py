"""Who may change what on a switch: what was approved, kept in the store, applied to what is desired."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from weft.controller.clock import Clock
from weft.fabric.carriage import Element
from weft.fabric.config import SwitchConfig
from weft.fabric.gate import Admitted, Approval, Foundation, admit
from weft.fabric.limits import config_usage, overflows
from weft.fabric.topology import Topology
from weft.model.ids import SwitchName
from weft.model.inventory import DriftPolicy
from weft.store import Kind, Store, Transaction


class Gatekeeper:
    """What was approved for each switch; fed from the store by the controller."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._approvals: dict[SwitchName, Approval] = {}

    def take(self, approvals: Mapping[SwitchName, Approval | None]) -> set[SwitchName]:
        """Take the present rows; return the switches for which something else was approved."""
        touched = set()
        for switch, approval in approvals.items():
            if approval != self._approvals.get(switch):
                touched.add(switch)
            if approval is not None:
                self._approvals[switch] = approval
            else:
                self._approvals.pop(switch, None)
        return touched

    def approval(self, switch: SwitchName) -> Approval | None:
        """Return what was approved for a switch last."""
        return self._approvals.get(switch)

    def admitted(
        self, topology: Topology, observed: SwitchConfig, desired: SwitchConfig, kept: Collection[Element]
    ) -> Admitted:
        """Return what a switch may be made now, of what it shall be."""
        switch = desired.name
        return admit(
            observed,
            desired,
            approval=self.approval(switch),
            kept=kept,
            escalates=topology.drift_policy(switch) is DriftPolicy.ESCALATE,
            safety=topology.safety(switch),
            overflowing=overflows(topology, switch, config_usage(desired)),
        )

    async def approve(self, switch: SwitchName, ground: Foundation) -> None:
        """Note durably that a switch may have a foundation which nobody needs to approve. Raises Transient."""
        before = self.approval(switch)
        approval = Approval(switch=switch, ground=ground, at=before.at if before is not None else 0.0)
        await self._store.transact(lambda tx: put_approval(tx, approval))
        self._approvals[switch] = approval

    def bounded(self, approval: Approval) -> Approval:
        """Return an approval after it was made use of: what comes later is bounded again."""
        return replace(approval, unbounded=False)


def put_approval(tx: Transaction, approval: Approval) -> None:
    """Write an approval."""
    tx.put_record(Kind.APPROVAL, approval.switch, approval)
