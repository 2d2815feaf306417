"""Messages between a node's agent and the server about containers: a workload's name, who holds it, and its port.

``POST /v1/nodes/{node}/workloads`` takes a WorkloadRequest and answers a Workload: the port of the name, bound to this
node and held by this holder, whoever held it before. ``POST .../workloads/release`` takes a WorkloadRelease: only the
present holder lets go. ``GET .../workloads`` lists those of the node, ``GET .../workloads/{port_id}`` one of them.
"""

from collections.abc import Mapping

import msgspec

from weft.protocol.node import AddressDesired


class WorkloadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a container runtime wants for a container.

    The name is that of the workload, and the same wherever it runs next; it is its project's own. `holder` is the
    container, such as the id of a pod's sandbox.
    """

    name: str
    holder: str
    project_id: str | None = None
    network: str | None = None
    """Name or id; else `network_labels` choose one."""
    network_labels: Mapping[str, str] = {}
    address: str | None = None
    ephemeral: bool = False
    """Whether the port goes with its holder; else it keeps its addresses for the name."""


class WorkloadRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container is gone."""

    name: str
    holder: str
    project_id: str | None = None


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's port as this node has it; `state` is the port's."""

    port_id: str
    name: str
    holder: str
    project_id: str
    epoch: int
    state: str
    reason: str = ""
    mac: str
    mtu_bytes: int
    addresses: tuple[AddressDesired, ...] = ()
    ephemeral: bool = False
