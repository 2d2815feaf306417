"""Switch configurations for tests of the FRR dialect, and a small FRR that takes typed lines as the real one does."""

import ipaddress
from collections.abc import Iterable

from hypothesis import strategies as st

from weft.fabric.config import ExitPeer, FabricLink, ManagementSegment, SwitchConfig, Underlay, Vrf
from weft.fabric.dialects import frr_text
from weft.fabric.dialects.frr import Patch
from weft.fabric.dialects.frr_text import Tree
from weft.fabric.vpc import OUTSIDE, Vpc, handing_over
from weft.model.ids import SwitchName

LEAF = SwitchName("leaf1")


def link(number: int, *, peer: str | None = None, asn: int = 65000) -> FabricLink:
    """Return the leaf's link number `number` to a spine."""
    return FabricLink(
        interface=f"eth{number}",
        address=ipaddress.IPv4Interface(f"10.254.0.{2 * number + 1}/31"),
        peer=peer or f"spine{number}",
        peer_address=ipaddress.IPv4Address(f"10.254.0.{2 * number}"),
        peer_asn=asn,
    )


def leaf(
    *,
    links: Iterable[int] = (1, 2),
    vrfs: Iterable[int] = (),
    asn: int = 65101,
    management: str | None = "172.31.1.1/24",
    peered: Iterable[tuple[int, int]] = (),
    outside: bool = False,
) -> SwitchConfig:
    """Return a leaf with links to spines and VRFs by their L3VNIs, some of them peered, or all known outside."""
    segment = None
    if management:
        segment = ManagementSegment(gateway=ipaddress.IPv4Interface(management), interfaces=("eth11",))
    return SwitchConfig(
        name=LEAF,
        underlay=Underlay(
            asn=asn,
            loopback=ipaddress.IPv4Address("10.255.0.11"),
            links=tuple(link(number) for number in links),
            management=segment,
        ),
        vrfs=_handing_over([vpc(number) for number in vrfs], peered, outside=outside),
    )


def vpc(l3vni: int) -> Vpc:
    """Return a VPC with a prefix of each family."""
    prefixes = (f"10.{l3vni % 256}.0.0/24", f"fd00:{l3vni % 256}::/64")
    return Vpc(vrf=f"v{l3vni}", l3vni=l3vni, prefixes=tuple(map(ipaddress.ip_network, prefixes)))


def _handing_over(vpcs: list[Vpc], peered: Iterable[tuple[int, int]], *, outside: bool) -> tuple[Vrf, ...]:
    by_number = {each.l3vni: each for each in vpcs}
    pairs = [(by_number[one], by_number[other]) for one, other in peered if {one, other} <= by_number.keys()]
    peer = ExitPeer(address=ipaddress.IPv4Address("192.0.2.0"), asn=64999, name="internet")
    border = Vrf(name=OUTSIDE, l3vni=9000, peers=(peer,)) if outside else None
    return handing_over([Vrf(name=each.vrf, l3vni=each.l3vni) for each in vpcs], pairs, border, vpcs)


LEAVES = st.builds(
    leaf,
    links=st.sets(st.integers(1, 6)).map(sorted),
    vrfs=st.sets(st.integers(50000, 50004)).map(sorted),
    peered=st.sets(st.sampled_from([(50000, 50001), (50001, 50002), (50003, 50004)])).map(sorted),
    outside=st.booleans(),
    asn=st.sampled_from([65101, 65102]),
    management=st.sampled_from([None, "172.31.1.1/24", "172.31.9.1/24"]),
)

FOREIGN = """\
frr version 10.3
frr defaults traditional
hostname leaf1
log file /var/log/frr/frr.log
no ipv6 forwarding
service integrated-vtysh-config
!
ip route 0.0.0.0/0 192.168.0.1
!
interface mgmt0
 ip address 192.168.0.21/24
exit
!
vrf v49999
exit-vrf
!
route-map MINE permit 10
exit
!
"""
"""What others have written, and the empty shell of a VRF that was."""


class SmallFrr:
    """Takes typed lines into a configuration; refuses what real FRR refuses of the lines that weft types."""

    def __init__(self, running: Tree) -> None:
        self.tree = running

    def take(self, patch: Patch) -> Tree:
        """Type a patch, and return what is then configured, without empty blocks of interfaces."""
        for lines in (*patch.first, patch.lines, *patch.last):
            self._type(lines)
        return {line: block for line, block in self.tree.items() if block or not line.startswith("interface ")}

    def _type(self, lines: Iterable[str]) -> None:
        stack = [self.tree]
        for line in map(str.strip, lines):
            if line in {"exit", "exit-vrf", "exit-address-family"}:
                stack.pop()
            elif frr_text.is_block(line):
                assert line not in {f"no {each}" for each in stack[-1]}
                stack.append(stack[-1].setdefault(line, {}))
            else:
                self._one(stack, line)

    def _one(self, stack: list[Tree], line: str) -> None:
        block = stack[-1]
        if line.startswith("no neighbor ") and len(line.split()) == 3:
            for tree in (block, *block.values()):
                for each in [each for each in tree if each.startswith(f"neighbor {line.split()[2]} ")]:
                    del tree[each]
        elif line.startswith("no ") and line.removeprefix("no ") in block:
            self._refuse(line)
            del block[line.removeprefix("no ")]
        elif f"no {line}" in block:
            del block[f"no {line}"]
        else:
            assert not line.startswith("no ") or line.startswith("no bgp"), f"% there is no {line}"
            for key in ("bgp router-id", "coalesce-time", "timers bgp"):
                self._replace(block, line, key)
            words = line.split()
            if words[0] == "neighbor" and words[2] in {"remote-as", "peer-group", "description"}:
                self._replace(block, line, " ".join(words[:3]))
            if words[0] == "neighbor" and words[2:] not in (["peer-group"], ["activate"]) and words[2] != "remote-as":
                defined = (f"neighbor {words[1]} remote-as", f"neighbor {words[1]} peer-group")
                assert any(each.startswith(defined) for each in block), (
                    f"% Specify remote-as or peer-group first: {line}"
                )
            if words[2:] == ["peer-group", "fabric"]:
                families = [below for each, below in block.items() if each.startswith("address-family")]
                assert sum("neighbor fabric activate" in family for family in families) == 2, f"too early: {line}"
            block[line] = {}

    def _replace(self, block: Tree, line: str, key: str) -> None:
        if line.startswith(f"{key} "):
            for each in [each for each in block if each.startswith(f"{key} ")]:
                del block[each]

    def _refuse(self, line: str) -> None:
        if line.startswith("no router bgp"):
            words = line.removeprefix("no ").split()
            if len(words) == 5:
                vnis = self.tree.get(f"vrf {words[4]}", {})
                assert not any(each.startswith("vni ") for each in vnis), f"% L3VNI is there: {line}"
            else:
                rest = [each for each in self.tree if each.startswith(f"router bgp {words[2]} vrf ")]
                assert not rest, f"% VRF instances are there: {line}"
