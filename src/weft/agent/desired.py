"""What the node shall carry, gathered from the server's messages."""

from collections.abc import Mapping

import msgspec

from weft.protocol.node import NodeChange, NodeDesired, PortDesired


class Desired(msgspec.Struct, frozen=True):
    """The ports of the node at a revision. It exists only from the first complete snapshot on."""

    revision: int
    ports: Mapping[str, PortDesired]


def after(desired: Desired | None, message: NodeDesired | NodeChange) -> Desired | None:
    """Return the desired state after a message. Pure; a repeated message changes nothing.

    A snapshot replaces everything, even by an older revision: the server may have been restored from a backup. A change
    that is older than what is known is old news, and a change before the first snapshot has nothing to change. Several
    changes may have one revision: each has the present rows of other ports.
    """
    if isinstance(message, NodeDesired):
        return Desired(message.revision, dict(map(_carried, message.ports)))
    if desired is None or message.revision < desired.revision:
        return desired
    ports = {id_: port for id_, port in desired.ports.items() if id_ not in message.gone}
    ports.update(map(_carried, message.ports))
    return Desired(message.revision, ports)


def _carried(port: PortDesired) -> tuple[str, PortDesired]:
    """Return a port without what changes nothing on the node: the same is planned for it, and remembered."""
    return port.port_id, msgspec.structs.replace(port, state="") if port.state else port
