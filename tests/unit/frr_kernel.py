"""A small kernel for tests: takes the lines of `ip -batch` and `bridge -batch` that weft writes, and refuses what Linux
refuses of them: a name or VNI twice, a link that is not there, a master that is none, a VLAN without a bridge."""

import ipaddress

from msgspec.structs import replace

from weft.fabric.config import SwitchConfig
from weft.switches.frr.changes import Batch, LinkChanges
from weft.switches.frr.kernel import OWN_SPACE, Kernel, Link, Space, Wanted, Where
from weft.switches.frr.readback import DEFAULT_VRF

CABLES = ("lo", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6", "eth11", "eth12", "eth13")


class SmallKernel:
    """Links by space and name."""

    def __init__(self) -> None:
        self.links: dict[Where, Link] = {}
        self.closed: set[int] = set()
        self._peers: dict[Where, Where] = {}
        self._groups: dict[Space, set[str]] = {}
        for name in CABLES:
            self.links[OWN_SPACE, name] = _fresh(name, "")

    def take(self, changes: LinkChanges, spaces: frozenset[Space]) -> None:
        """Make changes, after the spaces for them."""
        for space in spaces:
            self.links.setdefault((space, "lo"), _fresh("lo", ""))
        for batch in (*changes.first, *changes.masters, *changes.links, *changes.ports, *changes.last):
            for line in batch.lines:
                self._line(batch, line)

    def seen(self, wanted: Wanted, config: SwitchConfig) -> Kernel:
        """Return what is read from this kernel if hand-off, sysctls and zebra are as they shall be."""
        known = {}
        for (space, name), link in self.links.items():
            if link.vni:
                svi = self.links.get((space, f"{'l3svi' if name.startswith('l3') else 'svi'}{link.vni}"))
                known[link.vni] = space or (svi.master if svi else "") or DEFAULT_VRF
        tenants = frozenset(vrf.name for vrf in config.vrfs)
        return Kernel(
            links=dict(self.links),
            spaces=tenants,
            forwarding=tenants,
            sysctls=wanted.sysctls,
            handoffs=replace(wanted.handoffs, loaded=True),
            closed_tables=frozenset(self.closed),
            known_vnis=known,
        )

    def _line(self, batch: Batch, line: str) -> None:
        words = line.split()
        match (batch.tool, words[0], words[1]):
            case ("ip", "link", "add"):
                self._add(batch.space, words[2], words[3:])
            case ("ip", "link", "del"):
                assert words[2] == "group"
                for name in self._groups.pop(batch.space):
                    self._delete((batch.space, name))
            case ("ip", "link", "set"):
                self._set((batch.space, words[2]), words[3:])
            case ("ip", "addr", verb):
                self._address((batch.space, words[words.index("dev") + 1]), verb, words[2])
            case ("ip", "route", "replace"):
                self.closed.add(int(words[words.index("table") + 1]))
            case ("bridge", "vlan", verb):
                self._vlan((batch.space, words[3]), verb, words[5:])
            case ("ip", "ntable", "change"):
                assert (batch.space, words[words.index("dev") + 1]) in self.links
            case _:
                raise AssertionError(line)

    def _add(self, space: Space, name: str, words: list[str]) -> None:
        options = dict(zip(words[: words.index("type")][::2], words[: words.index("type")][1::2], strict=True))
        kind, rest = words[words.index("type") + 1], words[words.index("type") + 2 :]
        where = (options.get("netns", space), name)
        link = replace(
            self._new(where, kind),
            mtu_bytes=int(options.get("mtu", 1500)),
            mac=options.get("address", "02:00:00:00:00:01"),
        )
        given = dict(zip(rest[::2], rest[1::2], strict=False))
        if kind == "vxlan":
            assert int(given["id"]) not in {each.vni for each in self.links.values()}, f"VNI {given['id']} is there"
            link = replace(link, vni=int(given["id"]), local=ipaddress.IPv4Address(given["local"]))
        elif kind == "vlan":
            assert (space, options["link"]) in self.links
            link = replace(link, vlan_id=int(given["id"]), lower=options["link"])
        elif kind == "vrf":
            link = replace(link, table=int(given["table"]))
        elif kind == "bridge":
            link = replace(link, vlan_aware="vlan_filtering" in rest)
        elif kind == "veth":
            ends = dict(zip(rest[1::2], rest[2::2], strict=True))  # "peer", and then pairs
            far = (ends.get("netns", space), ends["name"])
            self.links[far] = replace(self._new(far, "veth"), mtu_bytes=link.mtu_bytes)
            self._peers[where], self._peers[far] = far, where
        self.links[where] = link

    def _new(self, where: Where, kind: str) -> Link:
        assert where not in self.links, f"{where} is there"
        assert (where[0], "lo") in self.links, f"no space {where[0]}"
        assert len(where[1]) <= 15, f"{where[1]} is too long a name"
        return _fresh(where[1], kind)

    def _delete(self, where: Where) -> None:
        link = self.links.pop(where, None)
        if link is None:
            return  # it went with another of its group
        if (peer := self._peers.pop(where, None)) is not None:
            self._peers.pop(peer)
            del self.links[peer]
        for other, port in list(self.links.items()):
            if other[0] == where[0] and port.master == link.name:
                self.links[other] = _unplugged(port)
            if other[0] == where[0] and port.lower == link.name:
                del self.links[other]

    def _set(self, where: Where, words: list[str]) -> None:
        link = self.links[where]
        match words:
            case ["up"]:
                assert link.lower is None or self.links[where[0], link.lower].up, f"{link.lower} is down"
                link = replace(link, up=True)
            case ["mtu", size]:
                link = replace(link, mtu_bytes=int(size))
            case ["address", mac]:
                link = replace(link, mac=mac)
            case ["alias", alias]:
                link = replace(link, alias=alias)
            case ["nomaster"]:
                link = _unplugged(link)
            case ["master", master]:
                assert self.links[where[0], master].kind in {"bridge", "vrf"}
                link = replace(link, master=master, learning=True, neigh_suppress=False)
            case ["type", "bridge_slave", "learning", learning, "neigh_suppress", suppress]:
                assert link.master
                link = replace(link, learning=learning == "on", neigh_suppress=suppress == "on")
            case ["group", _]:
                self._groups.setdefault(where[0], set()).add(where[1])
            case ["addrgenmode", "none"]:
                pass
            case _:
                raise AssertionError(words)
        self.links[where] = link

    def _address(self, where: Where, verb: str, address: str) -> None:
        present = self.links[where].addresses or frozenset()
        assert (address in present) == (verb == "del"), f"{verb} {address} on {where}"
        changed = present | {address} if verb == "add" else present - {address}
        self.links[where] = replace(self.links[where], addresses=changed)

    def _vlan(self, where: Where, verb: str, words: list[str]) -> None:
        link = self.links[where]
        bridge = link if words[-1] == "self" else self.links[where[0], link.master or ""]
        assert bridge.vlan_aware, f"{where} is no port of a bridge with VLANs"
        present = {vlan.split()[0]: vlan for vlan in link.vlans or ()}
        if verb == "del":
            del present[words[0]]
        else:
            present[words[0]] = " ".join(word for word in words if word != "self")
        self.links[where] = replace(link, vlans=frozenset(present.values()))


def _unplugged(link: Link) -> Link:
    return replace(link, master="", vlans=frozenset(), learning=None, neigh_suppress=None)


def _fresh(name: str, kind: str) -> Link:
    return Link(
        name=name,
        kind=kind,
        up=not kind,
        alias="",
        mtu_bytes=1500,
        mac="02:00:00:00:00:01",
        master="",
        addresses=frozenset(),
        vlans=frozenset(),
        vlan_aware=False if kind == "bridge" else None,
    )
