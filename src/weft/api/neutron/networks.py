"""Networks."""

from collections.abc import Callable, Iterable, Mapping

from weft.api.neutron.attributes import (
    SEGMENTATION_ID,
    STATE_UP,
    Attribute,
    Level,
    invalid_input,
    owned_attributes,
    project_of,
    shown,
)
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.port_values import dns_domain
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned, rows_of, site_of
from weft.api.neutron.selector import LABELS
from weft.api.neutron.values import Converter, boolean, integer, one_of, only, or_none, string, strings
from weft.intent.address_scopes import scopes_of
from weft.intent.networks import NetworkChanges, NetworkSpec, create_network, delete_network, update_network
from weft.intent.visibility import leading_outside, network_sharing, network_visible
from weft.model.ids import NetworkId
from weft.model.intent import Network, NetworkType
from weft.store import Snapshot, Transaction

MAX_VLAN = 4094


def _of_the_provider(convert: Converter | None) -> Attribute:
    return Attribute(convert, sorts=False, shown_to=Level.ADMINISTRATOR, set_by=Level.ADMINISTRATOR)


ATTRIBUTES = {
    **owned_attributes(),
    "admin_state_up": STATE_UP,
    "availability_zone_hints": Attribute(strings(255), filters=False),
    "availability_zones": shown(),
    "dns_domain": Attribute(dns_domain, put=True, sorts=False),
    "ipv4_address_scope": shown(),
    "ipv6_address_scope": shown(),
    "is_default": Attribute(
        only(False), put=True, sorts=False, filter_as=boolean, set_by=Level.ADMINISTRATOR, default=False
    ),
    "l2_adjacency": shown(),
    "labels": LABELS,
    "mtu": Attribute(integer(0, 9216), put=True),
    "port_security_enabled": Attribute(boolean, put=True, sorts=False, default=True),
    "provider:network_type": _of_the_provider(one_of("vxlan", "vlan")),
    "provider:physical_network": _of_the_provider(or_none(string(64))),
    "provider:segmentation_id": _of_the_provider(SEGMENTATION_ID.convert),
    "qos_policy_id": Attribute(only(None), put=True, filters=False, sorts=False),
    "router:external": Attribute(boolean, put=True, sorts=False, set_by=Level.ADMINISTRATOR, default=False),
    "shared": Attribute(boolean, put=True, sorts=False, set_by=Level.ADMINISTRATOR, default=False),
    "status": shown(filters=True, sorts=True),
    "subnets": shown(),
}

_SAME = {
    "name": "name",
    "description": "description",
    "tags": "tags",
    "admin_state_up": "admin_state_up",
    "shared": "shared",
    "router:external": "external",
    "labels": "labels",
    "port_security_enabled": "port_security_enabled",
    "dns_domain": "dns_domain",
}
_CREATED = {**_SAME, "provider:network_type": "type", "provider:physical_network": "physical_network"}


def _create(tx: Transaction, values: Values, project: str) -> Network:
    kind = _type(values)
    spec = NetworkSpec(
        project_id=project_of(values, project),
        site=site_of(values),
        zone_hints=tuple(values.get("availability_zone_hints", ())),
        mtu_bytes=values.get("mtu") or None,  # Neutron's 0 means: as large as the network can carry
        **renamed({**values, "provider:network_type": kind}, _CREATED),
        **_segment(kind, values.get("provider:segmentation_id")),
    )
    return create_network(tx, spec)


def _type(values: Values) -> NetworkType | None:
    """Return the type that is asked for; a number or a physical network without a type says which it is."""
    if (asked := values.get("provider:network_type")) is not None:
        return NetworkType(asked)
    if values.get("provider:physical_network") is not None:
        return NetworkType.VLAN
    return NetworkType.VXLAN if values.get("provider:segmentation_id") is not None else None


def _segment(kind: NetworkType | None, number: int | None) -> Values:
    if kind is not NetworkType.VLAN:
        return {"vni": number}
    if number is not None and number > MAX_VLAN:
        raise invalid_input("provider:segmentation_id", f"'{number}' is no VLAN: 1 to {MAX_VLAN}")
    return {"vlan": number}


def _update(tx: Transaction, id_: str, values: Values) -> Network:
    changes = NetworkChanges(**renamed(values, {**_SAME, "mtu": "mtu_bytes"}))
    return update_network(tx, NetworkId(id_), changes)


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[Network]:
    if (ids := query.filters.get("id")) is not None:
        return rows_of(lambda id_: snapshot.network(NetworkId(id_)), ids)
    return snapshot.networks()


def renderer(snapshot: Snapshot, project: str | None = None) -> Callable[[Network], Rendered]:
    """Return what shows networks of a snapshot, to a project or (None) to nobody in particular."""
    is_shared, is_external = network_sharing(snapshot, project), leading_outside(snapshot, project)

    def shown_network(network: Network) -> Rendered:
        subnets = snapshot.subnets(network.id)
        scopes = scopes_of(snapshot, subnets)
        flags = {"shared": is_shared(network), "router:external": is_external(network)}
        return render(network, [subnet.id for subnet in subnets], scopes, flags)

    return shown_network


def render(network: Network, subnet_ids: list[str], scopes: Mapping[int, str], flags: Mapping[str, bool]) -> Rendered:
    """Return a network as Neutron shows it.

    `scopes` are its subnets' address scopes by IP version, `flags` what it is for the project that looks at it.
    """
    return {
        **render_owned(network),
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        **flags,
        # Neutron has none: a network without labels looks as one of Neutron's does.
        **({"labels": network.labels} if network.labels else {}),
        "subnets": subnet_ids,
        "mtu": network.mtu_bytes,
        "provider:network_type": network.type,
        "provider:physical_network": network.physical_network,
        "provider:segmentation_id": network.vlan if network.type is NetworkType.VLAN else network.vni,
        "availability_zone_hints": list(network.zone_hints),
        "availability_zones": [network.site],
        "l2_adjacency": network.type is not NetworkType.ROUTED,
        "port_security_enabled": network.port_security_enabled,
        "is_default": False,
        "ipv4_address_scope": scopes.get(4),
        "ipv6_address_scope": scopes.get(6),
        "qos_policy_id": None,
        "dns_domain": network.dns_domain,
    }


NETWORKS = Resource(
    name="network",
    collection="networks",
    noun="Network",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.network(NetworkId(id_)),
    select=_select,
    renderer=renderer,
    renderer_for=renderer,
    owned=lambda row: row,
    create=_create,
    update=_update,
    delete=lambda tx, id_: delete_network(tx, NetworkId(id_)),
    shared=network_visible,
)
