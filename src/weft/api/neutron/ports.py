"""Ports, with what Nova reads and writes of their binding."""

from collections.abc import Callable, Sequence

from weft.api.neutron.attributes import STATE_UP, Attribute, Level, owned_attributes, project_of, shown
from weft.api.neutron.listing import Rendered
from weft.api.neutron.port_rows import select_ports
from weft.api.neutron.port_values import (
    address_pairs,
    dhcp_options,
    dns_assignment,
    dns_domain,
    dns_name,
    fixed_ips,
)
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.security_groups import check_groups_named
from weft.api.neutron.selector import SELECTOR, create_where_asked, explained
from weft.api.neutron.values import boolean, dictionary, identifiers, mac, one_of, only, or_none, string, strings
from weft.api.neutron.vifs import VNIC_TYPES, vif_details, vif_type
from weft.intent.ports import PortChanges, delete_port, update_port
from weft.model.ids import NetworkId, PortId
from weft.ports.lifecycle import neutron_status
from weft.store import PortView, Snapshot, Transaction


def _who_names_owner(value: object) -> Level:
    """Return who may call a port the network's own, such as a DHCP server's."""
    return Level.NETWORK_OWNER if str(value).startswith("network:") else Level.PROJECT


def _who_names_addresses(value: object) -> Level:
    """Return who may choose addresses: in a shared network, its owner; anybody may choose the subnet."""
    assert isinstance(value, tuple)
    return Level.NETWORK_OWNER if any(each.address is not None for each in value) else Level.PROJECT


ATTRIBUTES = {
    **owned_attributes(),
    **SELECTOR,
    "admin_state_up": STATE_UP,
    "allowed_address_pairs": Attribute(
        address_pairs, put=True, filters=False, sorts=False, set_by=Level.NETWORK_OWNER, default=()
    ),
    "binding:host_id": Attribute(
        or_none(string(255)), put=True, sorts=False, shown_to=Level.SERVICE, set_by=Level.SERVICE
    ),
    "binding:profile": Attribute(
        dictionary, put=True, filters=False, sorts=False, shown_to=Level.SERVICE, set_by=Level.SERVICE
    ),
    "binding:vif_details": shown(to=Level.SERVICE),
    "binding:vif_type": shown(to=Level.SERVICE),
    "binding:vnic_type": Attribute(one_of(*VNIC_TYPES), put=True, filters=False, sorts=False),
    "device_id": Attribute(string(255), put=True),
    "device_owner": Attribute(string(255), put=True, set_by=_who_names_owner),
    "dns_assignment": shown(),
    "dns_domain": Attribute(dns_domain, put=True, sorts=False),
    "dns_name": Attribute(dns_name, put=True, sorts=False),
    "extra_dhcp_opts": Attribute(dhcp_options, put=True, filters=False, sorts=False),
    "fixed_ips": Attribute(fixed_ips, put=True, sorts=False, set_by=_who_names_addresses),
    "ip_allocation": shown(filters=True, sorts=True),
    "mac_address": Attribute(or_none(mac), put=True, set_by=Level.NETWORK_OWNER),
    "port_security_enabled": Attribute(
        boolean, put=True, filters=False, sorts=False, set_by=Level.NETWORK_OWNER, default=True
    ),
    "qos_network_policy_id": shown(),
    "qos_policy_id": Attribute(only(None), put=True, filters=False, sorts=False),
    "resource_request": shown(to=Level.SERVICE),
    "security_groups": Attribute(identifiers, put=True, sorts=False),
    "status": shown(filters=True, sorts=True),
    "tags": Attribute(strings(255), sorts=False),
}

_FIELDS = {
    "name": "name",
    "description": "description",
    "tags": "tags",
    "mac_address": "mac",
    "fixed_ips": "fixed_ips",
    "device_id": "device_id",
    "device_owner": "device_owner",
    "admin_state_up": "admin_state_up",
    "port_security_enabled": "port_security_enabled",
    "security_groups": "security_groups",
    "binding:host_id": "node",
    "allowed_address_pairs": "allowed_address_pairs",
    "dns_domain": "dns_domain",
    "dns_name": "dns_name",
    "extra_dhcp_opts": "extra_dhcp_opts",
    "binding:vnic_type": "vnic_type",
    "binding:profile": "profile",
}


def _create(tx: Transaction, asked: Sequence[tuple[Values, str]]) -> list[PortView]:
    return create_where_asked(
        tx, [(values, {"project_id": project_of(values, project), **_fields(values)}) for values, project in asked]
    )


def _fields(values: Values) -> Values:
    fields = renamed(values, _FIELDS)
    if fields.get("node") == "":
        fields["node"] = None  # Neutron's empty host: on no node
    return fields


def renderer(snapshot: Snapshot) -> Callable[[PortView], Rendered]:
    """Return what shows ports of a snapshot."""

    domains: dict[NetworkId, str] = {}

    def domain_of(network_id: NetworkId) -> str:
        if network_id not in domains:
            network = snapshot.network(network_id)
            domains[network_id] = "" if network is None else network.dns_domain
        return domains[network_id]

    return lambda view: render(view, domain_of(view.port.network_id))


def renderer_after(snapshot: Snapshot, views: Sequence[PortView]) -> Callable[[PortView], Rendered]:
    """Return what shows these ports of a snapshot later."""
    domains: dict[NetworkId, str] = {}
    for view in views:
        if (id_ := view.port.network_id) not in domains:
            network = snapshot.network(id_)
            domains[id_] = "" if network is None else network.dns_domain
    return lambda view: render(view, domains[view.port.network_id])


def render(view: PortView, network_domain: str = "") -> Rendered:
    """Return a port as Neutron shows it; `network_domain` is the DNS domain of its network."""
    port = view.port
    return {
        **render_owned(port),
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.admin_state_up,
        "status": neutron_status(view.life, admin_state_up=port.admin_state_up),
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": [{"subnet_id": each.subnet_id, "ip_address": str(each.address)} for each in port.fixed_ips],
        "port_security_enabled": port.port_security_enabled,
        **_binding(view),
        "ip_allocation": "immediate" if port.fixed_ips else "none",
        "allowed_address_pairs": [
            {"ip_address": each.ip_address, "mac_address": each.mac} for each in port.allowed_address_pairs
        ],
        "dns_assignment": dns_assignment(port, network_domain),
        "dns_domain": port.dns_domain,
        "dns_name": port.dns_name,
        "extra_dhcp_opts": [
            {"opt_name": each.name, "opt_value": each.value, "ip_version": each.ip_version}
            for each in port.extra_dhcp_opts
        ],
        "qos_network_policy_id": None,
        "qos_policy_id": None,
        "resource_request": None,
        "security_groups": list(port.security_groups),
        **explained(view),
    }


def _binding(view: PortView) -> Rendered:
    port, binding = view.port, view.life.current
    return {
        "binding:host_id": "" if binding is None else binding.node,
        "binding:vif_type": "unbound" if binding is None else vif_type(binding.owed),
        "binding:vif_details": {} if binding is None else vif_details(binding.owed),
        "binding:vnic_type": port.vnic_type if binding is None else binding.vnic_type,
        "binding:profile": port.profile if binding is None else binding.profile,
    }


PORTS = Resource(
    name="port",
    collection="ports",
    noun="Port",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.port(PortId(id_)),
    select=select_ports,
    renderer=renderer,
    renderer_after=renderer_after,
    owned=lambda view: view.port,
    create=lambda tx, values, project: _create(tx, [(values, project)])[0],
    create_several=_create,
    update=lambda tx, id_, values: update_port(tx, PortId(id_), PortChanges(**_fields(values))),
    delete=lambda tx, id_: delete_port(tx, PortId(id_)),
    paged=True,
    network_of=lambda view: view.port.network_id,
    is_port=True,
    services_write=True,
    check_named=check_groups_named,
)
