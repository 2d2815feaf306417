"""What all use cases do with rows: find them or say that they are not there, and count their changes."""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from weft.model.errors import NotFound
from weft.model.ids import NetworkId, PortId, RouterId, SubnetId
from weft.model.intent import Network, Owned, Router, Subnet
from weft.store import PortView, Snapshot, Transaction

Row = TypeVar("Row", bound=Owned)


def network_of(snapshot: Snapshot, id_: NetworkId) -> Network:
    """Return a network; raise NotFound."""
    found = snapshot.network(id_)
    if found is None:
        raise _missing("Network", id_)
    return found


def subnet_of(snapshot: Snapshot, id_: SubnetId) -> Subnet:
    """Return a subnet; raise NotFound."""
    found = snapshot.subnet(id_)
    if found is None:
        raise _missing("Subnet", id_)
    return found


def router_of(snapshot: Snapshot, id_: RouterId) -> Router:
    """Return a router; raise NotFound."""
    found = snapshot.router(id_)
    if found is None:
        raise _missing("Router", id_)
    return found


def port_of(snapshot: Snapshot, id_: PortId) -> PortView:
    """Return a port with its life; raise NotFound."""
    found = snapshot.port(id_)
    if found is None:
        raise _missing("Port", id_)
    return found


def given(changes: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a Changes struct that are set."""
    values = zip(changes.__struct_fields__, msgspec.structs.astuple(changes), strict=True)
    return {name: value for name, value in values if value is not UNSET}


def changed(tx: Transaction, row: Row, **fields: Any) -> Row:
    """Return a row with new values, one revision on."""
    return msgspec.structs.replace(row, revision_number=row.revision_number + 1, updated_at=tx.clock(), **fields)


def _missing(noun: str, id_: str) -> NotFound:
    return NotFound(f"{noun} {id_} could not be found.", kind=f"{noun}NotFound")
