"""The pages of /v2.0: what may be given says the table of attributes, what is shown the table of shapes here."""

import re
from collections.abc import Mapping
from typing import Any

from weft.api.neutron.attributes import Attribute
from weft.api.neutron.availability import ATTRIBUTES as AVAILABILITY
from weft.api.neutron.bindings import ATTRIBUTES as BINDING
from weft.api.neutron.hosts import AGENTS, ZONES
from weft.api.neutron.resource import MAX_BULK, Resource
from weft.api.neutron.values import SCHEMAS
from weft.api.openapi.page import OBJECT, TEXT, Page, Schema, many, one
from weft.protocol.choice import NetworkChoice

_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_BOOLEAN: Schema = {"type": "boolean"}
_INTEGER: Schema = {"type": "integer"}
_MAYBE_INTEGER: Schema = {"type": ["integer", "null"]}
_TEXTS: Schema = {"type": "array", "items": TEXT}
_OBJECTS: Schema = {"type": "array", "items": OBJECT}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"}
_MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
_PREFIXLEN: Schema = {"type": ["string", "integer"]}

_BY_SHAPE: tuple[tuple[Schema, str], ...] = (
    (
        TEXT,
        """
        id name description project_id tenant_id network_id status device_id device_owner mac_address cidr
        binding:host_id binding:vif_type binding:vnic_type dns_name ip_allocation provider:network_type
        direction ethertype security_group_id object_type object_id action target_tenant
        host vif_type vnic_type floating_network_id floating_ip_address
        """,
    ),
    (
        _MAYBE_TEXT,
        """
        gateway_ip ipv6_address_mode ipv6_ra_mode subnetpool_id segment_id flavor_id qos_policy_id dns_domain
        qos_network_policy_id ipv4_address_scope ipv6_address_scope provider:physical_network address_scope_id
        protocol remote_ip_prefix normalized_cidr remote_group_id remote_address_group_id
        port_id router_id fixed_ip_address
        """,
    ),
    (
        _BOOLEAN,
        """
        admin_state_up shared router:external is_default port_security_enabled l2_adjacency enable_dhcp
        distributed ha stateful belongs_to_default_sg
        """,
    ),
    (_INTEGER, "mtu ip_version revision_number"),
    (_MAYBE_INTEGER, "provider:segmentation_id default_quota port_range_min port_range_max"),
    (_TIME, "created_at updated_at"),
    (
        _TEXTS,
        """
        tags availability_zones availability_zone_hints subnets dns_nameservers security_groups prefixes
        service_types
        """,
    ),
    (
        _OBJECTS,
        """
        fixed_ips allowed_address_pairs extra_dhcp_opts dns_assignment allocation_pools host_routes routes
        security_group_rules port_forwardings
        """,
    ),
    (OBJECT, "binding:profile binding:vif_details profile vif_details labels"),
    (_MAYBE_OBJECT, "external_gateway_info resource_request port_details"),
    (_PREFIXLEN, "default_prefixlen min_prefixlen max_prefixlen"),
)

SHAPES: Mapping[str, Schema] = {name: shape for shape, names in _BY_SHAPE for name in names.split()}
"""What an attribute looks like where it is shown; one name means the same in every resource."""

_PAGING: Mapping[str, Schema] = {
    "fields": TEXT,
    "sort_key": TEXT,
    "sort_dir": {"enum": ["asc", "desc"]},
    "limit": {"type": "integer", "minimum": 0},
    "marker": TEXT,
    "page_reverse": _BOOLEAN,
}
_TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
_LINKS: Schema = {
    "type": "array",
    "items": {"type": "object", "required": ["rel", "href"], "properties": {"rel": TEXT, "href": TEXT}},
}
_TAGS = one("tags", {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}})
_TAG_PAGES = re.compile(r"/v2\.0/[^/]+/\{id\}/tags(/\{tag\})?")
_QUOTA = one("quota", {"type": "object", "additionalProperties": _INTEGER})
_DETAILS = one("quota", {"type": "object", "additionalProperties": {"type": "object", "required": ["limit", "used"]}})
_INTERFACE: Schema = {"type": "object", "properties": {"subnet_id": TEXT, "port_id": TEXT}, "minProperties": 1}

_BINDINGS = "/v2.0/ports/{id}/bindings"


def shown_schema(table: Mapping[str, Attribute]) -> Schema:
    """Return what an object looks like; which attributes are there depends on the caller, and on ``fields``."""
    shown: dict[str, type | Schema] = {
        name: SHAPES.get(name, {}) for name, attribute in table.items() if attribute.matched
    }
    if "network_labels" in shown:
        shown["network_choice"] = NetworkChoice
    return {"type": "object", "properties": shown}


def given_schema(table: Mapping[str, Attribute], *, put: bool = False) -> Schema:
    """Return what may be given of an object when it is made, or, with `put`, when it is changed."""
    given = {
        name: SCHEMAS.get(attribute.convert, {})
        for name, attribute in table.items()
        if attribute.convert is not None and (attribute.put or not put)
    }
    required = [] if put else [name for name, attribute in table.items() if attribute.required]
    return {"type": "object", "properties": given, "required": required, "additionalProperties": False}


def _list_query(table: Mapping[str, Attribute]) -> Mapping[str, Schema]:
    filters = {name: TEXT for name, attribute in table.items() if attribute.filters}
    tags = _TAG_FILTERS if "tags" in table else ()
    return {**filters, **dict.fromkeys(tags, TEXT), **_PAGING}


def _listed(collection: str, shown: Schema) -> Schema:
    """Return what a list looks like that comes in pages."""
    found = many(collection, shown)
    found["properties"][f"{collection}_links"] = _LINKS
    return found


_AVAILABILITY: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("network_id", "network_name", "project_id", "tenant_id"), TEXT),
        **dict.fromkeys(("total_ips", "used_ips"), _INTEGER),
        "subnet_ip_availability": _OBJECTS,
    },
}
_AGENT: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("id", "agent_type", "binary", "topic", "host", "availability_zone"), TEXT),
        **dict.fromkeys(("admin_state_up", "alive"), _BOOLEAN),
        **dict.fromkeys(("description", "created_at", "started_at", "heartbeat_timestamp"), _MAYBE_TEXT),
        "configurations": OBJECT,
    },
}

OTHERS: Mapping[tuple[str, str], Page] = {
    ("GET", "/"): Page(answers={200: many("versions", {"type": "object", "required": ["id", "status", "links"]})}),
    ("GET", "/v2.0/"): Page(answers={200: many("resources", {"type": "object", "required": ["name", "collection"]})}),
    ("GET", "/v2.0/extensions"): Page(
        answers={200: many("extensions", {"type": "object", "required": ["name", "alias", "updated"]})}
    ),
    ("GET", "/v2.0/extensions/{alias}"): Page(
        answers={200: one("extension", {"type": "object", "required": ["name", "alias", "updated"]})}
    ),
    ("PUT", "/v2.0/routers/{id}/add_router_interface"): Page(
        takes=_INTERFACE, answers={200: {"type": "object", "required": ["id", "subnet_id", "port_id"]}}
    ),
    ("PUT", "/v2.0/routers/{id}/remove_router_interface"): Page(
        takes=_INTERFACE, answers={200: {"type": "object", "required": ["id", "subnet_id", "port_id"]}}
    ),
    ("GET", "/v2.0/quotas"): Page(answers={200: many("quotas", OBJECT)}, query={"fields": TEXT}),
    ("GET", "/v2.0/quotas/{project}"): Page(answers={200: _QUOTA}),
    ("PUT", "/v2.0/quotas/{project}"): Page(takes=_QUOTA, answers={200: _QUOTA}),
    ("DELETE", "/v2.0/quotas/{project}"): Page(answers={204: None}),
    ("GET", "/v2.0/quotas/{project}/default"): Page(answers={200: _QUOTA}),
    ("GET", "/v2.0/quotas/{project}/details"): Page(answers={200: _DETAILS}),
    ("GET", "/v2.0/quotas/{project}/details.json"): Page(answers={200: _DETAILS}),
    ("GET", "/v2.0/network-ip-availabilities"): Page(
        answers={200: many("network_ip_availabilities", _AVAILABILITY)}, query={**_list_query(AVAILABILITY)}
    ),
    ("GET", "/v2.0/network-ip-availabilities/{id}"): Page(answers={200: one("network_ip_availability", _AVAILABILITY)}),
    ("GET", "/v2.0/agents"): Page(answers={200: many("agents", _AGENT)}, query=_list_query(AGENTS)),
    ("GET", "/v2.0/agents/{id}"): Page(answers={200: one("agent", _AGENT)}),
    ("GET", "/v2.0/availability_zones"): Page(
        answers={200: many("availability_zones", {"type": "object", "properties": dict.fromkeys(ZONES, TEXT)})},
        query=_list_query(ZONES),
    ),
    ("GET", "/v2.0/service-providers"): Page(answers={200: many("service_providers", OBJECT)}),
    ("GET", f"{_BINDINGS}"): Page(
        answers={200: _listed("bindings", shown_schema(BINDING))}, query=_list_query(BINDING)
    ),
    ("POST", f"{_BINDINGS}"): Page(
        takes=one("binding", given_schema(BINDING)), answers={201: one("binding", shown_schema(BINDING))}, once=True
    ),
    ("GET", f"{_BINDINGS}/{{host}}"): Page(answers={200: one("binding", shown_schema(BINDING))}),
    ("PUT", f"{_BINDINGS}/{{host}}"): Page(
        takes=one("binding", given_schema(BINDING, put=True)),
        answers={200: one("binding", shown_schema(BINDING))},
        once=True,
    ),
    ("PUT", f"{_BINDINGS}/{{host}}/activate"): Page(answers={200: OBJECT}, once=True),
    ("DELETE", f"{_BINDINGS}/{{host}}"): Page(answers={204: None}, once=True),
}


def page_of(method: str, path: str, resources: Mapping[str, Resource[Any]]) -> Page | None:
    """Return what is known of an operation; `resources` are by their segment of the path. None: it is none of these."""
    if found := OTHERS.get((method, path)):
        return found
    if tags := _TAG_PAGES.fullmatch(path):
        return _tag_page(method, of_one=tags[1] is not None)
    name, _, rest = path.removeprefix("/v2.0/").partition("/")
    resource = resources.get(name)
    if resource is None or rest not in {"", "{id}"}:
        return None
    return _resource_page(method, resource, of_one=bool(rest))


def _resource_page(method: str, resource: Resource[Any], *, of_one: bool) -> Page:
    table = resource.attributes
    shown = shown_schema(table)
    if method == "GET":
        if of_one:
            return Page(answers={200: one(resource.name, shown)}, query={"fields": TEXT})
        return Page(answers={200: _listed(resource.collection, shown)}, query=_list_query(table))
    if method == "DELETE":
        return Page(answers={204: None}, once=True, conditional=True)
    if method == "PUT":
        given = one(resource.name, given_schema(table, put=True))
        return Page(takes=given, answers={200: one(resource.name, shown)}, once=True, conditional=True)
    given = given_schema(table)
    bulk = one(resource.collection, {"type": "array", "items": given, "minItems": 1, "maxItems": MAX_BULK})
    made = {"anyOf": [one(resource.name, shown), many(resource.collection, shown)]}
    return Page(takes={"anyOf": [one(resource.name, given), bulk]}, answers={201: made}, once=True)


def _tag_page(method: str, *, of_one: bool) -> Page:
    if of_one:
        return Page(answers={201: {"type": "null"}} if method == "PUT" else {204: None})
    if method == "DELETE":
        return Page(answers={204: None})
    return Page(takes=None if method == "GET" else _TAGS, answers={200: _TAGS})
