"""Messages between a node's agent and the server about containers: a workload's name, who holds it, and its port.

``POST /v1/nodes/{node}/workloads/warm`` takes a WarmOrder: ports that are bound to the node before anybody needs them.
``POST .../workloads/batch`` takes a WorkloadBatch: attach (the port of a name, wherever it was), claim (a warm port
gets its name and holder) and release (a container is gone), each with an outcome of its own.
``PUT .../workloads/present`` takes a WorkloadsPresent: all that the agent has. ``GET .../workloads`` lists those of the
node, ``.../{port_id}`` one.
"""

from collections.abc import Mapping

import msgspec

from weft.protocol.node import AddressDesired

MAX_WARM = 256
"""Ports of one WarmOrder."""
MAX_BATCH = 256
"""Items of one WorkloadBatch."""
MAX_PRESENT = 8192
"""Ports of one WorkloadsPresent."""
MISSING_S = 60.0
"""How long a port must be missing from what its agent has, by two of its statements at least, to be released for that;
more than an ADD takes."""


class WorkloadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a container runtime wants for a container.

    The name is that of the workload, and the same wherever it runs next; it is its project's own, among workloads.
    `holder` is the container, such as the id of a pod's sandbox.
    """

    name: str
    holder: str
    project_id: str | None = None
    network: str | None = None
    """Name or id; else `network_labels` choose one."""
    network_labels: Mapping[str, str] = {}
    address: str | None = None
    mac: str | None = None
    ephemeral: bool = False
    """Whether the port goes with its holder, where nothing else is said; else it keeps its addresses for the name."""
    release: str | None = None
    """What becomes of the port when its holder is gone: ``now``, a time such as ``10m``, ``with-object``, ``never``.
    None: as its network says (label ``weft.dev/release``); if that says nothing, ``now`` if ephemeral, else ``never``.
    """
    instead_of: str | None = None
    """The port that the container runs on already, and that somebody has deleted before it was claimed: it is to have
    another with the same `mac` and `addresses`."""
    addresses: tuple[str, ...] = ()
    """All that it had."""


class WarmOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ports for containers to come: bound to the node, ephemeral, with neither name nor holder until they are claimed.

    The answer has as many as there are, up to `count`; none is an error that says why.
    """

    count: int
    project_id: str | None = None
    network: str | None = None
    network_labels: Mapping[str, str] = {}


class WorkloadClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A warm port has a container now. Its epoch stays: nothing of what is plugged changes.

    Said twice, it is one. The name's older ephemeral port, if it has one, is gone with this. One that is kept for the
    name stays its name's; the container then has its port beside it, and nothing keeps that when the container goes.
    """

    port_id: str
    epoch: int
    name: str
    holder: str
    project_id: str | None = None
    release: str | None = None
    """As in WorkloadRequest."""


class WorkloadRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container is gone, or a warm port is given back (its holder is ``""``). Only the present holder's counts.

    `port_id` says which port; without it, the name does.
    """

    name: str = ""
    holder: str = ""
    project_id: str | None = None
    port_id: str | None = None


class WorkloadBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that are independent of each other: one that fails stops none. Releases come first, attachments last."""

    attach: tuple[WorkloadRequest, ...] = ()
    claim: tuple[WorkloadClaim, ...] = ()
    release: tuple[WorkloadRelease, ...] = ()


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's port as this node has it; `state` is the port's. A warm one has neither name nor holder."""

    port_id: str
    name: str
    holder: str
    project_id: str
    network_id: str = ""
    epoch: int
    state: str
    reason: str = ""
    mac: str
    mtu_bytes: int
    addresses: tuple[AddressDesired, ...] = ()
    ephemeral: bool = False
    release: str = ""
    """What becomes of the port when its holder is gone, as it is decided at present."""


class WarmPorts(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a WarmOrder."""

    workloads: tuple[Workload, ...]


class WorkloadError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item failed. `status` is the HTTP status that it would have had alone; with `retry_after_s` it may
    succeed later."""

    status: int
    kind: str
    message: str
    retry_after_s: float | None = None


class WorkloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item: the workload that was attached or claimed, whether the release was its holder's, or an
    error."""

    workload: Workload | None = None
    released: bool | None = None
    error: WorkloadError | None = None


class WorkloadOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a WorkloadBatch: an outcome for each item, in order."""

    attach: tuple[WorkloadOutcome, ...] = ()
    claim: tuple[WorkloadOutcome, ...] = ()
    release: tuple[WorkloadOutcome, ...] = ()


class WorkloadPresent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port that the agent has, plugged, warm, or being added."""

    port_id: str
    epoch: int
    holder: str = ""


class WorkloadsPresent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an agent has of workloads. To be sent when it has seen all of its node: on start, and every few minutes.

    What is bound to the node and lacks in two of them, MISSING_S apart, is released as if its holder had said so.
    """

    workloads: tuple[WorkloadPresent, ...]


class WorkloadsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a WorkloadsPresent, by ports: what the server misses, what it has released for that, and what the
    agent has that is not bound to the node any more, or in another epoch, or for another holder."""

    missing: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    held_by_others: tuple[str, ...] = ()
