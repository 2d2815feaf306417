"""Floating IPs."""

from collections.abc import Callable, Iterable

from weft.api.neutron.attributes import Attribute, Level, owned_attributes, project_of, shown
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import missing
from weft.api.neutron.port_values import dns_domain, dns_name
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.values import address, identifier, only, or_none, strings
from weft.intent.floating_ips import (
    FloatingIpChanges,
    FloatingIpSpec,
    create_floating_ip,
    delete_floating_ip,
    update_floating_ip,
)
from weft.intent.visibility import network_visible
from weft.model.ids import NetworkId, PortId
from weft.model.supply import FloatingIp
from weft.ports.lifecycle import neutron_status
from weft.store import Snapshot, Transaction
from weft.store.changes import Kind

_OWNED = owned_attributes()


def _who_chooses(value: object) -> Level:
    """Return who may name the address: administrators only."""
    return Level.PROJECT if value is None else Level.ADMINISTRATOR


ATTRIBUTES = {
    **{name: attribute for name, attribute in _OWNED.items() if name != "name"},
    "dns_domain": Attribute(dns_domain, filters=False, sorts=False),
    "dns_name": Attribute(dns_name, filters=False, sorts=False),
    "fixed_ip_address": Attribute(or_none(address), put=True),
    "floating_ip_address": Attribute(or_none(address), set_by=_who_chooses),
    "floating_network_id": Attribute(identifier, required=True),
    "port_details": shown(),
    "port_forwardings": shown(),
    "port_id": Attribute(or_none(identifier), put=True, sorts=False),
    "qos_policy_id": Attribute(only(None), put=True, filters=False, sorts=False),
    "router_id": shown(filters=True, sorts=True),
    "status": shown(filters=True, sorts=True),
    "subnet_id": Attribute(or_none(identifier), filters=False, sorts=False),
    "tags": Attribute(strings(255), sorts=False),
}

_CHANGED = {"description": "description", "tags": "tags", "port_id": "port_id", "fixed_ip_address": "fixed_ip"}
_CREATED = {
    **_CHANGED,
    "floating_network_id": "network_id",
    "floating_ip_address": "address",
    "subnet_id": "subnet_id",
    "dns_name": "dns_name",
    "dns_domain": "dns_domain",
}


def _create(tx: Transaction, values: Values, project: str) -> FloatingIp:
    return create_floating_ip(tx, FloatingIpSpec(project_id=project_of(values, project), **renamed(values, _CREATED)))


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[FloatingIp]:
    return snapshot.records(
        Kind.FLOATING_IP,
        FloatingIp,
        ids=query.filters.get("id"),
        name=query.only("floating_ip_address"),
        parent=query.only("port_id") or None,
        project_id=query.seen_by or query.only("project_id") or query.only("tenant_id"),
    )


def renderer(snapshot: Snapshot) -> Callable[[FloatingIp], Rendered]:
    """Return what shows floating IPs of a snapshot."""

    def render(floating: FloatingIp) -> Rendered:
        owned = render_owned(floating)
        del owned["name"]
        return {
            **owned,
            "floating_ip_address": floating.address,
            "floating_network_id": floating.network_id,
            "router_id": floating.router_id,
            "port_id": floating.port_id,
            "fixed_ip_address": None if floating.fixed_ip is None else str(floating.fixed_ip),
            # Nothing translates addresses yet.
            "status": "DOWN",
            "port_details": None if floating.port_id is None else _details(snapshot, floating.port_id),
            "port_forwardings": [],
            "qos_policy_id": None,
            "dns_domain": floating.dns_domain,
            "dns_name": floating.dns_name,
        }

    return render


def _details(snapshot: Snapshot, port_id: PortId) -> Rendered | None:
    view = snapshot.port(port_id)
    if view is None:
        return None
    port = view.port
    return {
        "name": port.name,
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.admin_state_up,
        "status": neutron_status(view.life, admin_state_up=port.admin_state_up),
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    }


def _check_named(snapshot: Snapshot, values: Values, project: str) -> None:
    """Raise NotFound for a network that the project may not see, and for a port that it does not own."""
    network_id, port_id = values.get("floating_network_id"), values.get("port_id")
    network = None if network_id is None else snapshot.network(NetworkId(network_id))
    if network is not None and not network_visible(snapshot, network, project):
        raise missing("Network", network.id)
    view = None if port_id is None else snapshot.port(PortId(port_id))
    if view is not None and view.port.project_id != project:
        raise missing("Port", view.port.id)


FLOATING_IPS = Resource(
    name="floatingip",
    collection="floatingips",
    noun="FloatingIP",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.record(Kind.FLOATING_IP, FloatingIp, id_),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=lambda tx, id_, values: update_floating_ip(tx, id_, FloatingIpChanges(**renamed(values, _CHANGED))),
    delete=delete_floating_ip,
    check_named=_check_named,
)
