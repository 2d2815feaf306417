"""Whether the kernel has an Open vSwitch datapath: asked by generic netlink, which also loads the module if there is
one."""

import socket
import struct

from weft.agent.settings import Datapath

_NETLINK_GENERIC = 16
_CONTROL_FAMILY = 0x10
_REQUEST = 1
_GET_FAMILY, _VERSION = 3, 1
_FAMILY_NAME = 2
_ERROR = 2
_TIMEOUT_S = 2.0


def resolve(datapath: Datapath) -> str:
    """Return the datapath_type for bridges: ``system`` or ``netdev``."""
    if datapath is Datapath.AUTO:
        return Datapath.SYSTEM.value if _kernel_has("ovs_datapath") else Datapath.NETDEV.value
    return datapath.value


def _kernel_has(family: str) -> bool:
    """Ask for a generic netlink family by name (linux/genetlink.h)."""
    name = family.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), _FAMILY_NAME) + name + bytes(-len(name) % 4)
    body = struct.pack("=BBH", _GET_FAMILY, _VERSION, 0) + attribute
    header = struct.pack("=IHHII", 16 + len(body), _CONTROL_FAMILY, _REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as netlink:
            netlink.settimeout(_TIMEOUT_S)
            netlink.send(header + body)
            answer = netlink.recv(4096)
    except OSError:
        return False
    kind: int = struct.unpack_from("=H", answer, 4)[0]
    return kind != _ERROR
