"""What a call answers, in the form of the version that was asked for (CNI specification, section 5). Pure."""

import ipaddress
from typing import Any

from weft.agent.cni.errors import CniError
from weft.protocol.node import AddressDesired
from weft.protocol.workload import Workload

OLDEST = "0.2.0"
WITH_FAMILY = frozenset({"0.3.0", "0.3.1", "0.4.0"})
"""Versions whose addresses say which family they are of."""
WITH_MTU = frozenset({"1.1.0"})


def result(version: str, workload: Workload, ifname: str, netns: str, *, host_end: str) -> dict[str, Any]:
    """Return the result of an ADD. Version 0.2.0, which Mesos reads, has one address of each family.

    The host's end is named, too: chained plugins such as `bandwidth` look for the pair's other half there.
    """
    if version == OLDEST:
        return {"cniVersion": version, **_oldest(workload), "dns": {}}
    interface: dict[str, Any] = {"name": ifname, "mac": workload.mac, "sandbox": netns}
    host: dict[str, Any] = {"name": host_end, "mac": host_mac(workload.mac)}
    if version in WITH_MTU:
        interface["mtu"] = host["mtu"] = workload.mtu_bytes
    return {
        "cniVersion": version,
        "interfaces": [interface, host],
        "ips": [_address(each, with_family=version in WITH_FAMILY) for each in workload.addresses],
        "routes": [{"dst": _default(each), "gw": each.gateway} for each in _first_gateways(workload)],
        "dns": {},
    }


def host_mac(mac: str) -> str:
    """Return the MAC of the host's end of a pair: the port's with another first byte, as hypervisors have it."""
    return "fe" + mac[2:]


def failure(version: str, error: CniError) -> dict[str, Any]:
    """Return what a call that failed prints."""
    return {"cniVersion": version, "code": int(error.code), "msg": error.message, "details": error.details}


def _address(address: AddressDesired, *, with_family: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"address": f"{address.address}/{address.prefixlen}", "interface": 0}
    if address.gateway is not None:
        found["gateway"] = address.gateway
    if with_family:
        found["version"] = str(_family(address))
    return found


def _oldest(workload: Workload) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for address in workload.addresses:
        known: dict[str, Any] = {"ip": f"{address.address}/{address.prefixlen}"}
        if address.gateway is not None:
            known |= {"gateway": address.gateway, "routes": [{"dst": _default(address), "gw": address.gateway}]}
        found.setdefault(f"ip{_family(address)}", known)
    return found


def _first_gateways(workload: Workload) -> list[AddressDesired]:
    by_family = {_family(each): each for each in reversed(workload.addresses) if each.gateway is not None}
    return [by_family[family] for family in sorted(by_family)]


def _family(address: AddressDesired) -> int:
    return ipaddress.ip_address(address.address).version


def _default(address: AddressDesired) -> str:
    return "0.0.0.0/0" if _family(address) == 4 else "::/0"
