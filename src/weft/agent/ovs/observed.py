"""What the agent sees of a node's switch, as values: devices, the patch between the bridges, and what it wrote there.

The two maps of a node's memory live in br-int's external_ids, because a row there survives the agent and the daemons:
``weft-network-ID`` is the local VLAN of a network; ``weft-binding-PORT/EPOCH`` says that this node owes the server the
word ``gone`` for that binding once it has left the desired state, and its value whether the server knows it to be up.
"""

from collections.abc import Mapping

import msgspec

NETWORK_KEY = "weft-network-"
BINDING_KEY = "weft-binding-"

INTEGRATION = "br-int"
UPLINK = "br-bond"
INTEGRATION_PATCH = "int-br-bond"
UPLINK_PATCH = "phy-br-bond"

SEEN = "seen"
TOLD = "told"

Binding = tuple[str, int]
"""A port's id and an epoch."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """An interface on br-int that somebody put there for a port: it carries the port's id as iface-id."""

    port_id: str
    name: str
    interface: str
    """Row id of the Interface; a device that is unplugged and plugged again has another one."""
    port: str
    """Row id of its Port."""
    ofport: int | None
    """None: ovs-vswitchd has not taken it (yet); `error` says why if it refused."""
    error: str = ""
    kind: str = ""
    """OVSDB's type: empty for a device of the kernel that Open vSwitch reads (a tap, a veth)."""
    tag: int | None = None
    mtu_bytes: int | None = None
    mtu_request_bytes: int | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent keeps in br-int's external_ids."""

    local_vlans: Mapping[str, int] = {}
    bindings: Mapping[Binding, str] = {}
    """SEEN, or TOLD once the server has acknowledged all its steps."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The switch of a node at one moment."""

    devices: Mapping[str, Device] = {}
    """By port id."""
    uplink: int | None = None
    """OpenFlow port of the patch on br-int; None while it has none."""
    patch: int | None = None
    """OpenFlow port of the patch on br-bond."""
    memory: Memory = Memory()


def network_key(network_id: str) -> str:
    """Return the key under which br-int remembers a network's local VLAN."""
    return f"{NETWORK_KEY}{network_id}"


def binding_key(binding: Binding) -> str:
    """Return the key under which br-int remembers a binding."""
    port_id, epoch = binding
    return f"{BINDING_KEY}{port_id}/{epoch}"


def memory_of(external_ids: Mapping[str, str]) -> Memory:
    """Read the memory back; keys of others and values that are no numbers are not the agent's and are left out."""
    vlans: dict[str, int] = {}
    bindings: dict[Binding, str] = {}
    for key, value in external_ids.items():
        if key.startswith(NETWORK_KEY) and value.isdecimal() and 0 < int(value) < 4095:
            vlans[key.removeprefix(NETWORK_KEY)] = int(value)
        elif key.startswith(BINDING_KEY):
            port_id, _, epoch = key.removeprefix(BINDING_KEY).rpartition("/")
            if port_id and epoch.isdecimal():
                bindings[port_id, int(epoch)] = value
    return Memory(local_vlans=vlans, bindings=bindings)
