"""A port as /v1 shows it: what it is, what state it is in, who has made what of it real, and its history.

``GET /v1/ports`` answers ``{"ports": [PortStatus, ...]}``, ``GET /v1/ports/{id}`` ``{"port": PortStatus}``,
``GET /v1/ports/{id}/history`` ``{"history": [HistoryStep, ...]}`` with the oldest first, and ``GET /v1/watch`` sends
WatchEvents. Times are Unix time in seconds.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class AddressStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a port and the subnet it is from."""

    subnet_id: str
    address: str


class BindingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The port on a node. `owed` names the realizers that must say up; draining: a newer epoch replaces this one."""

    node: str
    epoch: int
    owed: tuple[str, ...] = ()
    draining: bool = False
    vnic_type: str = "normal"


class RealizationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What one realizer (host, fabric, cloud) says of one epoch: pending, up, failed or gone."""

    epoch: int
    realizer: str
    state: str
    reason: str = ""
    at: float = 0.0


class PortStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A port with its state (weft.ports.machine.State), the current epoch, its bindings and their realizations."""

    id: str
    name: str = ""
    project_id: str = ""
    network_id: str
    mac: str
    fixed_ips: tuple[AddressStatus, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    labels: Mapping[str, str] = {}
    state: str
    since: float = 0.0
    reason: str = ""
    epoch: int = 0
    bindings: tuple[BindingStatus, ...] = ()
    realizations: tuple[RealizationStatus, ...] = ()

    @property
    def node(self) -> str | None:
        """The node of the current binding; None if the port has none."""
        return next((binding.node for binding in self.bindings if not binding.draining), None)


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step in a port's life: weft.model.steps names them; `before` and `after` are set for step ``state``."""

    at: float
    actor: str
    step: str
    epoch: int = 0
    before: str = ""
    after: str = ""
    detail: str = ""


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the change log. `object` is the present row as its /v1 page shows it (None after a delete); for a
    port, `history` holds the newest entries of its history."""

    revision: int
    kind: str
    id: str
    op: str
    object: Mapping[str, Any] | None = None
    history: tuple[HistoryStep, ...] = ()
