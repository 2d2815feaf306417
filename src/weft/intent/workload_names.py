"""Which port is a workload's. The names of workloads are a space of their own in their project: a virtual machine's
port may be called the same, and is another thing.

The record is found by its key, so that asking for a name makes nothing wait to be written; of a port that somebody has
deleted it says nothing.
"""

from urllib.parse import quote

import msgspec

from weft.model.ids import PortId
from weft.model.intent import Port
from weft.store import Kind, PortView, Snapshot, Transaction

OWNER = "container:workload"
"""The device_owner of a workload's port: no agent gets at any other."""


class WorkloadName(msgspec.Struct, frozen=True):
    """The port of a name."""

    id: str
    port_id: PortId


def workload_by_name(snapshot: Snapshot, project_id: str, name: str) -> PortView | None:
    """Return the port of a workload's name, if it has one."""
    found = snapshot.record(Kind.WORKLOAD_NAME, WorkloadName, _id(project_id, name))
    view = None if found is None else snapshot.port(found.port_id)
    return view if view is not None and view.port.device_owner == OWNER else None


def is_named(snapshot: Snapshot, port: Port) -> bool:
    """Tell whether a port is the one of its name: a container may have one beside that which is kept for its name."""
    if not port.name:
        return False
    found = snapshot.record(Kind.WORKLOAD_NAME, WorkloadName, _id(port.project_id, port.name), of=port.id)
    return found is not None and found.port_id == port.id


def name_workload(tx: Transaction, port: Port) -> None:
    """Let a port be the one of its name."""
    id_ = _id(port.project_id, port.name)
    found = WorkloadName(id_, port.id)
    tx.put_record(Kind.WORKLOAD_NAME, id_, found, project_id=port.project_id, name=port.name, parent=port.id)


def forget_workload(tx: Transaction, view: PortView) -> None:
    """Let the name of a port that is deleted be another's; nothing is waited for any more, if it was held."""
    port = view.port
    if port.device_owner != OWNER or not port.name:
        return
    id_ = _id(port.project_id, port.name)
    found = tx.record(Kind.WORKLOAD_NAME, WorkloadName, id_, of=port.id)
    if found is not None and found.port_id == port.id:
        tx.delete_record(Kind.WORKLOAD_NAME, id_, project_id=port.project_id)
    if view.life.current is None:
        tx.delete_record(Kind.HELD_WORKLOAD, port.id, project_id=port.project_id)


def _id(project_id: str, name: str) -> str:
    # Escaped: a project and a name that are divided elsewhere must not be the same.
    return f"{quote(project_id, safe='')}/{name}"
