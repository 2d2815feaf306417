"""Ports by name: the port of a name is made when it is first asked for, and found ever after.

A name is a project's, or a project's in one network. The claim on it is unique in the database, so two servers that
make the port at once cannot both commit; the one that loses begins again, and finds what the winner made.
"""

from collections.abc import Mapping

import msgspec

from weft.intent.choice import create_port_by_labels
from weft.intent.name_claims import PortName, name_key
from weft.intent.ports import API, PortSpec, create_port
from weft.model.errors import Conflict, Invalid
from weft.model.ids import NetworkId, SiteName
from weft.store import Kind, PortView, Snapshot, Transaction

MAX_NAMED = 5
"""Ports that an error names."""


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """Which network a new port shall be in, if its spec does not name one."""

    labels: Mapping[str, str] = {}
    site: SiteName | None = None


class NamedPort(msgspec.Struct, frozen=True):
    """The port of a name, and whether it was made just now."""

    view: PortView
    created: bool


def create_where(tx: Transaction, spec: PortSpec, selector: Selector, *, actor: str = API) -> PortView:
    """Create a port in the network that `spec` names, or in one that `selector` finds. Raises as these do."""
    if spec.network_id and (selector.labels or selector.site is not None):
        raise Invalid("network_id names a network, network_labels and site would choose one: give one or the other")
    if spec.network_id:
        return create_port(tx, spec, actor=actor)
    if not selector.labels:
        raise Invalid("the request names no network: give network_id, or network_labels that its network shall have")
    return create_port_by_labels(tx, spec, selector.labels, site=selector.site, actor=actor)


def port_by_name(snapshot: Snapshot, project_id: str, network_id: NetworkId | None, name: str) -> PortView | None:
    """Return the port of a name: the one that claims it, else the only one that is called so; None if there is none.

    Raises Conflict (PortNameAmbiguous) if several ports are called so and none was asked for by this name.
    """
    for claim in snapshot.records(Kind.PORT_NAME, PortName, unique=name_key(project_id, network_id, name)):
        if (found := snapshot.port(claim.id)) is not None:
            return found
    called = snapshot.ports(project_id=project_id, network_id=network_id, name=name)
    if len(called) > 1:
        named = ", ".join(view.port.id for view in called[:MAX_NAMED])
        message = f"{len(called)} ports of project '{project_id}' are called '{name}': {named}"
        raise Conflict(f"{message}; rename or delete all but one, or ask for them by id", kind="PortNameAmbiguous")
    return called[0] if called else None


def create_or_get(
    tx: Transaction, spec: PortSpec, selector: Selector, *, in_network: bool, actor: str = API
) -> NamedPort:
    """Return the port called `spec.name`, made if there is none; `in_network`: the name is one of its network only.

    Raises Conflict (PortNameInUse) if there is one that is not what `spec` asks for: in another network, with another
    MAC or without the addresses named; Conflict (UniqueKeyInUse) if another server is making it; and as create_where.
    """
    if not spec.name:
        raise Invalid("a port that is found by its name must have one")
    network_id = spec.network_id if in_network else None
    found = port_by_name(tx, spec.project_id, network_id, spec.name)
    if found is None:
        view = create_where(tx, spec, selector, actor=actor)
        _claim(tx, spec, network_id, view)
        return NamedPort(view, created=True)
    check_same(found, spec)
    if tx.record(Kind.PORT_NAME, PortName, found.port.id) is None:
        _claim(tx, spec, network_id, found)
    return NamedPort(found, created=False)


def _claim(tx: Transaction, spec: PortSpec, network_id: NetworkId | None, view: PortView) -> None:
    claim = PortName(id=view.port.id, project_id=spec.project_id, network_id=network_id, name=spec.name)
    for stale in tx.records(Kind.PORT_NAME, PortName, unique=claim.key):
        tx.delete_record(Kind.PORT_NAME, stale.id)
    tx.put_record(
        Kind.PORT_NAME,
        claim.id,
        claim,
        project_id=claim.project_id,
        name=claim.name,
        parent=network_id or "",
        unique=claim.key,
    )


def check_same(view: PortView, spec: PortSpec) -> None:
    """Raise Conflict if a port that exists is not what is asked for."""
    port = view.port
    differs = ""
    if spec.network_id and spec.network_id != port.network_id:
        differs = f"is in network {port.network_id}, not in {spec.network_id}"
    elif spec.mac is not None and spec.mac != port.mac:
        differs = f"has MAC address {port.mac}, not {spec.mac}"
    else:
        held = {ip.address for ip in port.fixed_ips}
        lacking = [str(ip.address) for ip in spec.fixed_ips or () if ip.address is not None and ip.address not in held]
        if lacking:
            differs = f"has not the address {lacking[0]}, but {', '.join(map(str, held)) or 'none'}"
    if differs:
        message = f"port {port.id}, which is called '{spec.name}', {differs}; ask for another name, or change the port"
        raise Conflict(message, kind="PortNameInUse")
