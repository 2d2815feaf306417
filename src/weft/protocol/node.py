"""Messages between the server and a node's agent.

An agent opens ``GET /v1/nodes/{node}/watch`` (server-sent events). The first event is ``snapshot`` with a NodeDesired:
everything that concerns the node. Each later event is ``change`` with a NodeChange: the present rows of the ports that
changed. A comment line is sent every HEARTBEAT_S seconds; an agent that sees nothing for three of them reconnects, and
gets a new snapshot. Nothing may be deleted from a node before the first snapshot.

It answers with ``POST /v1/nodes/{node}/realizations``: a RealizationReports; the server replies with a ReportAnswer.
"""

import msgspec

from weft.model.intent import RealizationState, Realizer

HEARTBEAT_S = 5.0


class AddressDesired(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a port, such as 10.0.0.5 with prefix length 24; the gateway if its subnet has one."""

    address: str
    prefixlen: int
    gateway: str | None = None


class AllowedPair(msgspec.Struct, frozen=True, kw_only=True):
    """An address or prefix, such as 10.0.0.0/24, that a port may also send from, with the MAC that it then has."""

    address: str
    mac: str


class PortDesired(msgspec.Struct, frozen=True, kw_only=True):
    """A port as its node shall carry it in one epoch."""

    port_id: str
    epoch: int
    network_id: str
    vlan: int
    """The VLAN of the port's network on this node's uplink (br-bond)."""
    mac: str
    addresses: tuple[AddressDesired, ...] = ()
    mtu_bytes: int = 1500
    admin_state_up: bool = True
    anti_spoofing: bool = True
    allowed_pairs: tuple[AllowedPair, ...] = ()
    draining: bool = False
    """A newer epoch is being realized on another node; keep forwarding until the port
    disappears from the desired state."""
    name: str = ""
    state: str = ""
    """The port's, so that nobody on the node has to ask when it is ACTIVE; what is carried does not depend on it."""


class NodeDesired(msgspec.Struct, frozen=True, kw_only=True):
    """All that a node shall carry, at a revision."""

    node: str
    revision: int
    ports: tuple[PortDesired, ...] = ()


class NodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """Ports of a node that changed up to a revision: their present rows, and the ids of those no longer wanted here."""

    revision: int
    ports: tuple[PortDesired, ...] = ()
    gone: tuple[str, ...] = ()


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """A step that a realizer has made, at Unix time `at` in seconds; `step` is one of weft.model.steps."""

    step: str
    at: float
    detail: str = ""


class RealizationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a realizer has done for one epoch of one port. Steps may come alone: state pending."""

    port_id: str
    epoch: int
    state: RealizationState
    realizer: Realizer = Realizer.HOST
    reason: str = ""
    steps: tuple[StepReport, ...] = ()


class RealizationReports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/nodes/{node}/realizations."""

    reports: tuple[RealizationReport, ...]


class IgnoredReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that changed nothing: its epoch is not current on this node, or the port is gone."""

    port_id: str
    epoch: int
    current_epoch: int | None
    reason: str


class ReportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a RealizationReports; `revision` is that of the transaction that stored it."""

    revision: int
    ignored: tuple[IgnoredReport, ...] = ()


class NodeBootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """What an installer writes to a node before its agent first starts: GET /v1/nodes/{node}/bootstrap.

    Interfaces are in CIDR form. `gateway` is the leaf's address in the node's management prefix; `token` is only
    filled by POST, which makes a new token and voids the old one.
    """

    node: str
    dataplane: str
    nics: tuple[str, ...]
    management: str | None
    gateway: str | None
    mtu_bytes: int
    token: str | None = None
