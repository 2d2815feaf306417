"""Ports, with what Nova reads and writes of their binding."""

from collections.abc import Callable, Mapping

from weft.api.neutron.attributes import STATE_UP, Attribute, Level, owned_attributes, project_of, shown
from weft.api.neutron.listing import Rendered
from weft.api.neutron.port_rows import select_ports
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned
from weft.api.neutron.selector import SELECTOR, create_where_asked, explained
from weft.api.neutron.values import (
    Refused,
    address,
    boolean,
    dictionary,
    identifier,
    items,
    mac,
    one_of,
    only,
    or_none,
    string,
    strings,
)
from weft.intent.ports import FixedIpSpec, PortChanges, delete_port, update_port
from weft.model.addresses import IPAddress
from weft.model.ids import PortId, SubnetId
from weft.model.intent import Binding, Realizer
from weft.ports.lifecycle import neutron_status
from weft.store import PortView, Snapshot, Transaction

VNIC_TYPES = ("normal", "baremetal")
"""Of Neutron's, those that a node of ours can give."""

OVS_DETAILS: Mapping[str, object] = {
    "connectivity": "l2",
    "port_filter": True,
    "ovs_hybrid_plug": False,
    "ovs_create_tap": True,
    "datapath_type": "system",
    "bridge_name": "br-int",
    "bound_drivers": {"0": "weft"},
}
"""How Nova shall plug an instance on an OVS node: straight into br-int, with no bridge between."""


def fixed_ips(value: object) -> tuple[FixedIpSpec, ...]:
    """Accept a list of objects with a subnet_id, an ip_address, or both."""
    found: list[FixedIpSpec] = []
    seen: set[IPAddress] = set()
    for each in items(value):
        if not isinstance(each, dict) or not each or each.keys() - {"subnet_id", "ip_address"}:
            raise Refused(f"Invalid data format for fixed IP: '{each}'")
        wanted = address(each["ip_address"]) if "ip_address" in each else None
        if wanted in seen:
            raise Refused(f"Duplicate IP address '{wanted}'")
        if wanted is not None:
            seen.add(wanted)
        subnet_id = SubnetId(identifier(each["subnet_id"])) if "subnet_id" in each else None
        found.append(FixedIpSpec(subnet_id=subnet_id, address=wanted))
    return tuple(found)


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
    "allowed_address_pairs": Attribute(only([]), put=True, filters=False, sorts=False),
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
    "dns_domain": Attribute(only(""), put=True, filters=False, sorts=False),
    "dns_name": Attribute(only(""), put=True, filters=False, sorts=False),
    "extra_dhcp_opts": Attribute(only([]), put=True, filters=False, sorts=False),
    "fixed_ips": Attribute(fixed_ips, put=True, sorts=False, set_by=_who_names_addresses),
    "ip_allocation": shown(filters=True, sorts=True),
    "mac_address": Attribute(mac, put=True, set_by=Level.NETWORK_OWNER),
    "port_security_enabled": Attribute(
        boolean, put=True, filters=False, sorts=False, set_by=Level.NETWORK_OWNER, default=True
    ),
    "qos_network_policy_id": shown(),
    "qos_policy_id": Attribute(only(None), put=True, filters=False, sorts=False),
    "resource_request": shown(to=Level.SERVICE),
    "security_groups": Attribute(only([]), put=True, sorts=False),
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
    "binding:host_id": "node",
    "binding:vnic_type": "vnic_type",
    "binding:profile": "profile",
}


def _create(tx: Transaction, values: Values, project: str) -> PortView:
    return create_where_asked(tx, values, {"project_id": project_of(values, project), **_fields(values)})


def _fields(values: Values) -> Values:
    fields = renamed(values, _FIELDS)
    if fields.get("node") == "":
        fields["node"] = None  # Neutron's empty host: on no node
    return fields


def renderer(snapshot: Snapshot) -> Callable[[PortView], Rendered]:
    """Return what shows ports of a snapshot."""
    del snapshot
    return render


def render(view: PortView) -> Rendered:
    """Return a port as Neutron shows it."""
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
        **_binding(view.life.current),
        "ip_allocation": "immediate",
        "allowed_address_pairs": [],
        "dns_assignment": [],
        "dns_domain": "",
        "dns_name": "",
        "extra_dhcp_opts": [],
        "qos_network_policy_id": None,
        "qos_policy_id": None,
        "resource_request": None,
        "security_groups": [],
        **explained(view),
    }


def _binding(binding: Binding | None) -> Rendered:
    if binding is None:
        return {
            "binding:host_id": "",
            "binding:vif_type": "unbound",
            "binding:vif_details": {},
            "binding:vnic_type": "normal",
            "binding:profile": {},
        }
    on_ovs = Realizer.HOST in binding.owed
    return {
        "binding:host_id": binding.node,
        "binding:vif_type": "ovs" if on_ovs else "other",
        "binding:vif_details": OVS_DETAILS if on_ovs else {},
        "binding:vnic_type": binding.vnic_type,
        "binding:profile": binding.profile,
    }


PORTS = Resource(
    name="port",
    collection="ports",
    noun="Port",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.port(PortId(id_)),
    select=select_ports,
    renderer=renderer,
    owned=lambda view: view.port,
    create=_create,
    update=lambda tx, id_, values: update_port(tx, PortId(id_), PortChanges(**_fields(values))),
    delete=lambda tx, id_: delete_port(tx, PortId(id_)),
    paged=True,
    network_of=lambda view: view.port.network_id,
    services_write=True,
)
