"""Ports: created with MAC and addresses, changed, bound to a node, moved, unbound, deleted."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from weft.model.addresses import IPAddress, Mac
from weft.model.ids import Epoch, NetworkId, NodeName, PortId, SubnetId
from weft.store import PortView, Transaction

API = "api"
"""Who acts where no other actor is named."""


class FixedIpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a caller asks for: exactly this one, any of a subnet, or one that weft finds the subnet of."""

    subnet_id: SubnetId | None = None
    address: IPAddress | None = None


class PortSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for; what is None is chosen by weft."""

    project_id: str
    network_id: NetworkId
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    mac: Mac | None = None
    fixed_ips: tuple[FixedIpSpec, ...] | None = None
    """None: an address of each family that the network has; empty: none."""
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True
    labels: Mapping[str, str] = {}
    node: NodeName | None = None
    """Bind in the same transaction."""
    vnic_type: str = "normal"
    profile: Mapping[str, object] = {}


class PortChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants changed; what is UNSET stays. `node`: bind or move there; None: unbind."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    mac: Mac | UnsetType = UNSET
    fixed_ips: tuple[FixedIpSpec, ...] | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    device_owner: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    labels: Mapping[str, str] | UnsetType = UNSET
    node: NodeName | UnsetType | None = UNSET
    vnic_type: str | UnsetType = UNSET
    profile: Mapping[str, object] | UnsetType = UNSET


def create_port(tx: Transaction, spec: PortSpec, *, actor: str = API) -> PortView:
    """Create a port."""
    raise NotImplementedError


def update_port(tx: Transaction, port_id: PortId, changes: PortChanges, *, actor: str = API) -> PortView:
    """Change a port."""
    raise NotImplementedError


def delete_port(tx: Transaction, port_id: PortId, *, actor: str = API) -> None:
    """Delete a port."""
    raise NotImplementedError


def bind_port(
    tx: Transaction,
    port_id: PortId,
    node: NodeName,
    *,
    supersede: bool = False,
    expected_epoch: Epoch | None = None,
    vnic_type: str | None = None,
    profile: Mapping[str, object] | None = None,
    actor: str = API,
) -> PortView:
    """Bind a port to a node, or move it there."""
    raise NotImplementedError


def unbind_port(tx: Transaction, port_id: PortId, *, actor: str = API) -> PortView:
    """Take a port off its node."""
    raise NotImplementedError
