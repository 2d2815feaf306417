"""What Nova is to be told of a port, from what the port is and what Nova knows. Pure."""

import uuid
from enum import StrEnum

import msgspec

from weft.model.ids import Epoch, PortId
from weft.ports.lifecycle import Status, neutron_status
from weft.ports.machine import State
from weft.store import PortView

COMPUTE = "compute:"
"""With what the owner of a port of an instance begins."""


class Name(StrEnum):
    """Nova's names of the events that it takes from a network service."""

    PLUGGED = "network-vif-plugged"
    UNPLUGGED = "network-vif-unplugged"
    DELETED = "network-vif-deleted"


class ExternalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as ``POST /os-server-external-events`` takes it; the tag is the port's id."""

    name: Name
    server_uuid: str
    tag: str
    status: str = "completed"


class NovaPort(msgspec.Struct, frozen=True, kw_only=True):
    """What Nova knows of a port: whose it is, and the last event about which epoch. `status` empty: nothing yet."""

    id: PortId
    server: str
    status: str = ""
    epoch: Epoch = Epoch(0)


class News(msgspec.Struct, frozen=True):
    """What to tell Nova, and what it knows then; None: nothing is to be told, or to be remembered."""

    event: ExternalEvent | None
    after: NovaPort | None


def news_of(port_id: PortId, view: PortView | None, known: NovaPort | None) -> News:
    """Return what Nova is to be told of a port; `view` None: the port is gone."""
    server = None if view is None else server_of(view)
    if view is None or server is None:
        if view is None and known is not None:
            return News(ExternalEvent(name=Name.DELETED, server_uuid=known.server, tag=port_id), None)
        return News(None, None)  # no instance's port, or no longer: Nova itself took it off
    if known is None or known.server != server:
        known = NovaPort(id=port_id, server=server)
    now = _now(view, known)
    if now == known:
        return News(None, known)
    name = Name.UNPLUGGED if now.status == Status.DOWN else Name.PLUGGED
    status = "failed" if now.status == Status.ERROR else "completed"
    return News(ExternalEvent(name=name, server_uuid=server, tag=port_id, status=status), now)


def server_of(view: PortView) -> str | None:
    """Return the id of the instance that a port is of; None if it is of none."""
    if not view.port.device_owner.startswith(COMPUTE):
        return None
    try:
        return str(uuid.UUID(view.port.device_id))
    except ValueError:
        return None


def _now(view: PortView, known: NovaPort) -> NovaPort:
    """Return what Nova should know; `known` as long as the port is on its way, or has been told of."""
    status, epoch = neutron_status(view.life, admin_state_up=view.port.admin_state_up), view.life.epoch
    told = msgspec.structs.replace(known, status=status, epoch=epoch)
    if status is Status.DOWN:
        return told if known.status == Status.ACTIVE else known
    settled = view.life.state is State.ACTIVE or status is Status.ERROR
    return told if settled else known
