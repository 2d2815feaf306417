"""A bare-metal server with a trunk: tagged frames of its own NIC reach the gateway that its leaf has for the tag."""

import json
import socket
import struct
import time

import pytest
from running_lab import Lab, until, weft

from weft.lab import namespaces
from weft.lab.topology import namespace_of

pytestmark = pytest.mark.e2e

SERVER, NIC = "bm1", "nic0"
GATEWAY = "10.66.2.1"
ANSWER_S = 0.5
ETHERTYPE_ARP, ETHERTYPE_VLAN = 0x0806, 0x8100
SOL_PACKET, PACKET_AUXDATA = 263, 8


def test_a_server_has_one_network_untagged_and_another_by_a_tag(lab: Lab) -> None:
    weft("router", "create", "metal")
    for number, name in ((1, "metal-access"), (2, "metal-trunk")):
        weft("network", "create", name)
        weft("subnet", "create", name, f"10.66.{number}.0/24")
        weft("router", "add", "metal", name)
    weft("port", "create", "metal-access", "--name", "bm-access", "--node", SERVER, "--wait")
    weft("lab", "instance", "add", "bm-access")
    until(lambda: "bytes from" in lab.run(SERVER, "ping", "-c1", "-W1", "10.66.1.1", check=False), "untagged traffic")
    refused = weft("port", "create", "metal-trunk", "--node", SERVER, check=False)
    assert "it can carry one network untagged" in refused.stderr

    shown = json.loads(weft("port", "create", "metal-trunk", "--name", "bm-trunk", "--node", SERVER, "--trunk",
                            "--wait", "--json").stdout)  # fmt: skip
    port = shown.get("port", shown)
    vlan = vlan_of(lab, "bm-trunk")
    address = port["fixed_ips"][0].get("address") or port["fixed_ips"][0]["ip_address"]
    until(lambda: answered(vlan, port["mac"], address), f"the gateway answers frames with VLAN {vlan}")
    assert "bytes from" in lab.run(SERVER, "ping", "-c1", "-W1", "10.66.1.1"), "the untagged network goes on"
    assert not answered(vlan + 1, port["mac"], address), "another tag leads nowhere"

    weft("port", "delete", "bm-trunk")
    until(lambda: not answered(vlan, port["mac"], address), "the tag is taken away again")
    assert "bytes from" in lab.run(SERVER, "ping", "-c1", "-W1", "10.66.1.1")
    weft("lab", "instance", "delete", "bm-access")
    weft("port", "delete", "bm-access")
    for name in ("metal-access", "metal-trunk"):
        weft("router", "remove", "metal", name)
        weft("network", "delete", name)
    weft("router", "delete", "metal")


def vlan_of(lab: Lab, name: str) -> int:
    """Return the VLAN that the history of a port tells."""
    port_id = lab.client.ports.find(name)["id"]
    details = [step.detail for step in lab.client.history(port_id) if step.step == "leaf_configured"]
    words = details[-1].replace(",", " ").split()
    return int(words[words.index("vlan") + 1])


def answered(vlan: int, mac: str, address: str) -> bool:
    """Ask for the gateway's MAC by ARP (RFC 826), in a frame with a tag, and tell whether a tagged answer comes."""
    return namespaces.inside(namespace_of(SERVER), lambda: _ask(vlan, mac, address))


def _ask(vlan: int, mac: str, address: str) -> bool:
    own = bytes.fromhex(mac.replace(":", ""))
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + socket.inet_aton(address)
    arp += bytes(6) + socket.inet_aton(GATEWAY)
    frame = b"\xff" * 6 + own + struct.pack("!HHH", ETHERTYPE_VLAN, vlan, ETHERTYPE_ARP) + arp
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as wire:
        wire.bind((NIC, 0))
        wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        wire.setsockopt(SOL_PACKET, 1, struct.pack("iHH8s", socket.if_nametoindex(NIC), 1, 0, b""))  # promiscuous
        wire.settimeout(ANSWER_S)
        wire.send(frame.ljust(64, b"\0"))
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            try:
                got, ancillary, _, sender = wire.recvmsg(2048, 256)
            except TimeoutError:
                return False
            tags = [struct.unpack("=IIIHHHH", data[:20])[5] & 0xFFF for _, kind, data in ancillary if kind == 8]
            if sender[2] != 4 and got[:6] == own and got[12:14] == b"\x08\x06" and got[20:22] == b"\0\x02":
                return tags == [vlan]
    return False
