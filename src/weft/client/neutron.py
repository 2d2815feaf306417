"""The calls of the OpenStack Networking API (v2.0): objects are JSON objects under Neutron's own attribute names."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.client.call import Call, JsonObject, Query, as_type, json_body, member, nothing, path_of

ROOT = "v2.0"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object: its name in a body (``network``), and its collection's in a path (``networks``)."""

    name: str
    collection: str

    def list(self, query: Query) -> Call[list[JsonObject]]:
        """List objects; `query` holds filters, and Neutron's ``fields``, ``limit``, ``marker``, ``sort_key``."""
        return Call("GET", path_of(ROOT, self.collection), member(self.collection, list[JsonObject]), query)

    def show(self, id_: str) -> Call[JsonObject]:
        """Show one object by id."""
        return Call("GET", path_of(ROOT, self.collection, id_), member(self.name, JsonObject))

    def create(self, attributes: Mapping[str, object]) -> Call[JsonObject]:
        """Create one object."""
        body = json_body({self.name: attributes})
        return Call("POST", path_of(ROOT, self.collection), member(self.name, JsonObject), body=body)

    def update(self, id_: str, attributes: Mapping[str, object]) -> Call[JsonObject]:
        """Change the given attributes of one object."""
        body = json_body({self.name: attributes})
        return Call("PUT", path_of(ROOT, self.collection, id_), member(self.name, JsonObject), body=body)

    def delete(self, id_: str) -> Call[None]:
        """Delete one object."""
        return Call("DELETE", path_of(ROOT, self.collection, id_), nothing)


NETWORKS = Resource("network", "networks")
SUBNETS = Resource("subnet", "subnets")
ROUTERS = Resource("router", "routers")
PORTS = Resource("port", "ports")


def add_interface(router_id: str, interface: Mapping[str, str]) -> Call[JsonObject]:
    """Attach a subnet to a router; `interface` is ``{"subnet_id": ...}`` or ``{"port_id": ...}``."""
    path = path_of(ROOT, "routers", router_id, "add_router_interface")
    return Call("PUT", path, as_type(JsonObject), body=json_body(interface))


def remove_interface(router_id: str, interface: Mapping[str, str]) -> Call[JsonObject]:
    """Detach a subnet from a router; `interface` as in add_interface."""
    path = path_of(ROOT, "routers", router_id, "remove_router_interface")
    return Call("PUT", path, as_type(JsonObject), body=json_body(interface))


def extensions() -> Call[list[JsonObject]]:
    """List the API extensions that the server has."""
    return Call("GET", path_of(ROOT, "extensions"), member("extensions", list[JsonObject]))
