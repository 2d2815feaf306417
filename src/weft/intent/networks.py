"""Networks: created with a VNI of their site, changed, deleted with their subnets once no port is left."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from weft.model.ids import NetworkId, SiteName, Vlan, Vni
from weft.model.intent import Network, NetworkType
from weft.store import Transaction


class NetworkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    site: SiteName | None = None
    """None: the first site that has a fabric."""
    type: NetworkType = NetworkType.VXLAN
    vni: Vni | None = None
    vlan: Vlan | None = None
    physical_network: str | None = None
    mtu_bytes: int | None = None
    """None: the overlay MTU of the site's fabric."""
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    labels: Mapping[str, str] = {}


class NetworkChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    mtu_bytes: int | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    external: bool | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET


def create_network(tx: Transaction, spec: NetworkSpec) -> Network:
    """Create a network."""
    raise NotImplementedError


def update_network(tx: Transaction, network_id: NetworkId, changes: NetworkChanges) -> Network:
    """Change a network."""
    raise NotImplementedError


def delete_network(tx: Transaction, network_id: NetworkId) -> None:
    """Delete a network and its subnets."""
    raise NotImplementedError
