"""The shell scripts that run on a switch: one reads everything, one makes the difference. Each is one SSH exec.

A gateway is a veth pair: `vlan<V>` is a port of the bridge in the VLAN, `svi<V>` has the addresses, in the network
namespace of the VRF. (Open vSwitch loses an internal port that is moved to a namespace.) The bridge's end is down until
it is a port: RSTP takes an edge for one at once only then, and holds back one that is up for up to 15 s; and to a port
that it is switched off for, Open vSwitch 3.5 floods nothing.
"""

import re
import shlex
from collections.abc import Iterator, Sequence

from weft.fabric.vlan_config import VlanGateway, VlanPort, VlanSwitching

PART = "=== weft "
"""What begins the line before each part of what the observing script prints."""
BRIDGE = "br-weft"
MARK = "weft"
"""The key in external_ids of what weft made; its value says what it is."""
DATABASE_TIMEOUT_S = 10
NO_VLAN = 4095
"""A VLAN that no frame has (802.1Q reserves it): Open vSwitch takes an empty list of VLANs to mean all."""
EDGE = {"rstp-enable": "true", "rstp-port-admin-edge": "true", "rstp-port-auto-edge": "true"}
TRUNK = {"rstp-enable": "true", "rstp-port-admin-edge": "false", "rstp-port-auto-edge": "false"}

_GATEWAY_PORT = re.compile(r"vlan\d+")

_PRELUDE = f"""
cd / && export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
vsctl() {{ ovs-vsctl --timeout={DATABASE_TIMEOUT_S} "$@"; }}
"""

_OBSERVE = r"""
part() { printf '\n=== weft %s\n' "$1"; }
part bridges; vsctl -f json --columns=name,ports,rstp_enable,datapath_type,other_config,external_ids list Bridge
part ports
vsctl -f json --columns=_uuid,name,tag,trunks,vlan_mode,other_config,external_ids,rstp_status list Port
part interfaces; vsctl -f json --columns=name,ofport,error,link_state list Interface
part "space "; ip -d -j addr
for path in /run/netns/*; do
    [ -e "$path" ] || continue
    part "space ${path##*/}"; ip -n "${path##*/}" -d -j addr
    part "forwards ${path##*/}"; nsenter --net="$path" cat /proc/sys/net/ipv4/ip_forward
done
part end
"""

_APPLY = r"""
fail() { echo "weft: failed: $*" >&2; exit 1; }
reject() { echo "weft: rejected: $*" >&2; exit 2; }
needed() { [ -e "/sys/class/net/$1" ] || reject "there is no interface $1; it has" $(ls /sys/class/net); }
space() {  # make a VRF's namespace, and let it forward
    [ -e "/run/netns/$1" ] || ip netns add "$1" || fail "namespace $1"
    nsenter --net="/run/netns/$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 || fail "forwarding"
    ip -n "$1" link set lo up || fail "namespace $1"
}
own() { sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 || fail "forwarding"; }
datapath=$([ -d /sys/module/openvswitch ] && echo system || echo netdev)
"""


def observe() -> str:
    """Return the script that prints what the switch is."""
    return _PRELUDE + _OBSERVE


def apply(wanted: VlanSwitching, seen: VlanSwitching | None, seen_ports: Sequence[str], gateway_mac: str) -> str:
    """Return the script that makes a switch what is wanted, given what was seen there.

    `seen_ports` are all ports of weft's on the bridge, whatever state they are in. A gateway that differs is made anew.
    """
    kept = set(seen.gateways) & set(wanted.gateways) if seen is not None else set()
    made = [gateway for gateway in wanted.gateways if gateway not in kept]
    interfaces = {port.interface for port in wanted.ports} | {_near(each.vlan) for each in wanted.gateways}
    remade = {_near(gateway.vlan) for gateway in made}
    gone = [port for port in seen_ports if port not in interfaces or port in remade]
    lines = [f"needed {shlex.quote(port.interface)}" for port in wanted.ports]
    for gateway in made:
        lines += _without(_near(gateway.vlan)) if _near(gateway.vlan) not in gone else []
    for port in gone:
        lines += [f"vsctl --if-exists del-port {BRIDGE} {shlex.quote(port)} || fail 'port {port}'", *_without(port)]
    for gateway in made:
        lines += _links(gateway, gateway_mac)
    lines.append(_transaction(wanted))
    lines += [f"ip link set {near} up || fail 'link {near}'" for near in sorted(remade)]
    return "\n".join([_PRELUDE + _APPLY, *lines, ""])


def _near(vlan: int) -> str:
    """Return the bridge's end of a gateway's pair."""
    return f"vlan{vlan}"


def _far(vlan: int) -> str:
    return f"svi{vlan}"


def _without(port: str) -> list[str]:
    """Remove a gateway's pair; the port of a cable is none of ours to remove."""
    if not _GATEWAY_PORT.fullmatch(port):
        return []
    return [f"if [ -e /sys/class/net/{port} ]; then ip link del {port} || fail 'link {port}'; fi"]


def _links(gateway: VlanGateway, mac: str) -> Iterator[str]:
    near, far, mtu = _near(gateway.vlan), _far(gateway.vlan), gateway.mtu_bytes
    space, where = (f"netns {gateway.vrf}", f"-n {gateway.vrf} ") if gateway.vrf is not None else ("", "")
    yield f"space {gateway.vrf}" if gateway.vrf is not None else "own"
    ends = f"name {near} mtu {mtu} type veth peer name {far} address {mac} mtu {mtu} {space}"
    yield f"ip link add {ends} || fail 'link {far}'"
    inside = f"nsenter --net=/run/netns/{gateway.vrf} " if gateway.vrf is not None else ""
    yield f"{inside}ethtool -K {far} tx off >/dev/null || fail 'checksums of {far}'"
    for address in gateway.addresses:
        nodad = " nodad" if address.version == 6 else ""
        yield f"ip {where}addr add {address} dev {far}{nodad} || fail 'address {address}'"
    yield f"ip {where}link set {far} up || fail 'link {far}'"


def _transaction(wanted: VlanSwitching) -> str:
    """Return the one change of Open vSwitch's database; made again, it changes nothing."""
    bridge = [
        f"--may-exist add-br {BRIDGE} -- set Bridge {BRIDGE} datapath_type=$datapath rstp_enable=true",
        f"other_config:rstp-priority={wanted.priority} external_ids:{MARK}=bridge",
    ]
    commands = [" ".join(bridge)]
    for port in wanted.ports:
        commands += _port(port.interface, columns(port), EDGE if port.edge else TRUNK, "port")
    for gateway in wanted.gateways:
        access = columns(VlanPort(interface=_near(gateway.vlan), untagged=gateway.vlan))
        commands += _port(_near(gateway.vlan), access, EDGE, "gateway")
    return "vsctl -- " + " \\\n    -- ".join(commands) + " || fail 'Open vSwitch'"


def columns(port: VlanPort) -> tuple[str, int | None, tuple[int, ...]]:
    """Return the columns of Open vSwitch's Port that say what a port carries: vlan_mode, tag and trunks."""
    if port.untagged and not port.tagged:
        return "access", port.untagged, ()
    if port.untagged:
        return "native-untagged", port.untagged, tuple(sorted({port.untagged, *port.tagged}))
    return "trunk", None, port.tagged or (NO_VLAN,)


def _port(name: str, carried: tuple[str, int | None, tuple[int, ...]], rstp: dict[str, str], kind: str) -> list[str]:
    mode, tag, trunks = carried
    quoted = shlex.quote(name)
    config = " ".join(f"other_config:{key}={value}" for key, value in rstp.items())
    listed = ",".join(map(str, trunks))
    return [
        f"--may-exist add-port {BRIDGE} {quoted}",
        f"set Port {quoted} vlan_mode={mode} tag={'[]' if tag is None else tag} trunks=[{listed}]",
        f"set Port {quoted} {config} external_ids:{MARK}={kind}",
    ]
