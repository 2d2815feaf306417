"""The calls of weft's own API (/v1) about addresses: the plan, reservations, holds, blocks, checks."""

from collections.abc import Mapping

from weft.client.call import Call, JsonObject, as_type, json_body, member, nothing, path_of

PLAN = ("v1", "plan")
IPAM = ("v1", "ipam")


def plan(domain: str | None = None) -> Call[list[JsonObject]]:
    """Get the plan: prefixes in the order of a tree, with their use."""
    query = {} if domain is None else {"domain": domain}
    return Call("GET", path_of(*PLAN), member("prefixes", list[JsonObject]), query)


def delegate(order: Mapping[str, object]) -> Call[JsonObject]:
    """Delegate a prefix; `order` is a weft.protocol.plan.PrefixOrder."""
    return Call("POST", path_of(*PLAN, "prefixes"), member("prefix", JsonObject), body=json_body(order))


def change_prefix(id_: str, verb: str, change: Mapping[str, object]) -> Call[JsonObject]:
    """Resize or move a prefix."""
    return Call("POST", path_of(*PLAN, "prefixes", id_, verb), member("prefix", JsonObject), body=json_body(change))


def free_prefix(id_: str) -> Call[None]:
    """Take a prefix back."""
    return Call("DELETE", path_of(*PLAN, "prefixes", id_), nothing)


def import_plan(order: Mapping[str, object]) -> Call[JsonObject]:
    """Import a foreign plan; `order` is a weft.protocol.plan.PlanImport."""
    return Call("POST", path_of(*PLAN, "import"), as_type(JsonObject), body=json_body(order))


def rows(collection: str, member_name: str | None = None) -> Call[list[JsonObject]]:
    """List one of subnets, holds, block-pools, blocks."""
    return Call("GET", path_of(*IPAM, collection), member(member_name or collection, list[JsonObject]))


def reserve(subnet_id: str, order: Mapping[str, object]) -> Call[JsonObject]:
    """Keep a range of a subnet out of allocation."""
    path = path_of(*IPAM, "subnets", subnet_id, "reservations")
    return Call("POST", path, as_type(JsonObject), body=json_body(order))


def unreserve(subnet_id: str, start: str) -> Call[None]:
    """End a reservation."""
    return Call("DELETE", path_of(*IPAM, "subnets", subnet_id, "reservations", start), nothing)


def set_policy(network_id: str, hold_s: float | None) -> Call[JsonObject]:
    """Say how long names of a network keep their addresses."""
    path = path_of(*IPAM, "networks", network_id, "policy")
    return Call("PUT", path, as_type(JsonObject), body=json_body({"hold_s": hold_s}))


def release_hold(id_: str) -> Call[None]:
    """Let go of what a name keeps."""
    return Call("POST", path_of(*IPAM, "holds", "release"), nothing, body=json_body({"id": id_}))


def create_block_pool(order: Mapping[str, object]) -> Call[JsonObject]:
    """Make a part of a subnet a pool of blocks."""
    return Call("POST", path_of(*IPAM, "block-pools"), member("block_pool", JsonObject), body=json_body(order))


def delete_block_pool(id_: str) -> Call[None]:
    """End a pool of blocks."""
    return Call("DELETE", path_of(*IPAM, "block-pools", id_), nothing)


def check(*, fix: bool) -> Call[JsonObject]:
    """Look at all addresses."""
    return Call("POST", path_of(*IPAM, "check"), as_type(JsonObject), body=json_body({"fix": fix}))
