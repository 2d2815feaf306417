"""Claims of ports on the names that they were asked for by; see weft.intent.port_names."""

import msgspec

from weft.model.ids import NetworkId, PortId
from weft.store import Kind, Transaction


class PortName(msgspec.Struct, frozen=True, kw_only=True):
    """A port's claim on the name that it was asked for by; renaming the port does not touch it."""

    id: PortId
    project_id: str
    network_id: NetworkId | None
    """None: the name is the project's in all its networks."""
    name: str

    @property
    def key(self) -> str:
        """What is unique."""
        return name_key(self.project_id, self.network_id, self.name)


def forget_name(tx: Transaction, port_id: PortId) -> None:
    """Give up the claim of a port that is deleted, if it has one."""
    if tx.record(Kind.PORT_NAME, PortName, port_id) is not None:
        tx.delete_record(Kind.PORT_NAME, port_id)


def name_key(project_id: str, network_id: NetworkId | None, name: str) -> str:
    """Return what is unique about a name."""
    return msgspec.json.encode([project_id, network_id, name]).decode()
