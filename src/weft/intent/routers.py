"""Routers: a VRF and an L3VNI each; their interfaces hold the gateways of subnets that may not overlap."""

import msgspec
from msgspec import UNSET, UnsetType

from weft.model.ids import PortId, RouterId, SiteName, SubnetId, Vni
from weft.model.intent import Router, RouterInterface
from weft.store import Transaction


class RouterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    site: SiteName | None = None
    """None: the first site that has a fabric."""
    l3vni: Vni | None = None
    admin_state_up: bool = True


class RouterChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET


def create_router(tx: Transaction, spec: RouterSpec) -> Router:
    """Create a router."""
    raise NotImplementedError


def update_router(tx: Transaction, router_id: RouterId, changes: RouterChanges) -> Router:
    """Change a router."""
    raise NotImplementedError


def delete_router(tx: Transaction, router_id: RouterId) -> None:
    """Delete a router that has no interfaces."""
    raise NotImplementedError


def add_interface(
    tx: Transaction, router_id: RouterId, *, subnet_id: SubnetId | None = None, port_id: PortId | None = None
) -> RouterInterface:
    """Attach a subnet."""
    raise NotImplementedError


def remove_interface(
    tx: Transaction, router_id: RouterId, *, subnet_id: SubnetId | None = None, port_id: PortId | None = None
) -> RouterInterface:
    """Detach a subnet."""
    raise NotImplementedError
