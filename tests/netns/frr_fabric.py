"""A fabric for tests: one spine and two leaves that run the switch image, and hosts on their cables.

The drivers reach the switches by SSH over an out-of-band bridge, from a thread whose network namespace is on it. All
namespaces have the prefix PREFIX, all processes the lab's mark with MARK_VALUE; `close` removes both, and so does the
next run if this one was killed.
"""

import asyncio
import ipaddress
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from weft.fabric.config import (
    Attachment,
    FabricLink,
    ManagementSegment,
    Segment,
    SwitchConfig,
    Underlay,
    Vrf,
)
from weft.fabric.plan import SwitchPlan, plan
from weft.lab import namespaces, switch
from weft.lab.state import MARK
from weft.model.ids import SiteName, SwitchName
from weft.model.inventory import Switch, SwitchRole
from weft.switches import ssh
from weft.switches.driver import DriverSettings, Observed, SwitchDriver, driver_for

T = TypeVar("T")

PREFIX = "wsw-"
MARK_VALUE = "wsw-tests"
OOB = PREFIX + "oob"
ADDRESSES = {"spine1": "192.168.78.11", "leaf1": "192.168.78.21", "leaf2": "192.168.78.22"}
LEAVES = ("leaf1", "leaf2")
PATIENCE = float(os.environ.get("WEFT_PATIENCE", "1"))
"""How many times longer than usual things may take: an emulated kernel is slow."""
ssh.CONNECT_TIMEOUT_S *= PATIENCE
CABLES = ("eth11", "eth12", "eth13")
"""Of each leaf: to hosts; the first two are management interfaces."""
ASNS = {"spine1": 65000, "leaf1": 65101, "leaf2": 65102}
LOOPBACKS = {"spine1": "10.255.0.1", "leaf1": "10.255.0.11", "leaf2": "10.255.0.12"}


def sh(*command: str, check: bool = True) -> str:
    """Run a command and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout


def until(what: str, condition: Callable[[], object], deadline_s: float = 10.0, every_s: float = 0.05) -> None:
    """Poll until the condition is true; fail with `what` at the deadline."""
    end = time.monotonic() + deadline_s * PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(every_s)


def underlay(name: str) -> Underlay:
    """Return the underlay of a switch of the test fabric."""
    links = []
    for number, leaf in enumerate(LEAVES):
        spine_end, leaf_end = (ipaddress.IPv4Interface(f"10.254.0.{2 * number + end}/31") for end in (0, 1))
        if name == "spine1":
            links.append(_link(f"eth{number + 1}", spine_end, leaf, leaf_end))
        elif name == leaf:
            links.append(_link("eth1", leaf_end, "spine1", spine_end))
    management = None
    if name in LEAVES:
        gateway = ipaddress.IPv4Interface(f"172.31.{LEAVES.index(name) + 1}.1/24")
        management = ManagementSegment(gateway=gateway, interfaces=CABLES[:2])
    loopback = ipaddress.IPv4Address(LOOPBACKS[name])
    return Underlay(asn=ASNS[name], loopback=loopback, links=tuple(links), management=management)


def _link(interface: str, own: ipaddress.IPv4Interface, peer: str, other: ipaddress.IPv4Interface) -> FabricLink:
    return FabricLink(interface=interface, address=own, peer=peer, peer_address=other.ip, peer_asn=ASNS[peer])


def bare(name: str) -> SwitchConfig:
    """Return a switch that has its underlay and nothing else."""
    return SwitchConfig(name=SwitchName(name), underlay=underlay(name))


def segment(vni: int, vrf: str | None, *gateways: str, mtu_bytes: int = 1500) -> Segment:
    """Return a segment with gateways."""
    return Segment(vni=vni, vrf=vrf, gateways=tuple(map(ipaddress.ip_interface, gateways)), mtu_bytes=mtu_bytes)


def tenant(number: int, leaf: str, *, networks: Sequence[int] = (1, 2), cable: str = "eth11") -> SwitchConfig:
    """Return a leaf with one tenant: its networks 10.0.X.0/24, tagged 100 * number + X on a cable."""
    vrf = Vrf(name=f"v5000{number}", l3vni=50000 + number)
    vnis = {network: 10000 + 100 * number + network for network in networks}
    return SwitchConfig(
        name=SwitchName(leaf),
        underlay=underlay(leaf),
        vrfs=(vrf,),
        segments=tuple(segment(vni, vrf.name, f"10.0.{network}.1/24") for network, vni in vnis.items()),
        attachments=tuple(
            Attachment(interface=cable, vlan=100 * number + network, vni=vni) for network, vni in vnis.items()
        ),
    )


def both(one: SwitchConfig, other: SwitchConfig) -> SwitchConfig:
    """Return a switch that carries what two configurations carry."""
    return msgspec.structs.replace(
        one,
        vrfs=tuple(sorted({*one.vrfs, *other.vrfs})),
        segments=tuple(sorted({*one.segments, *other.segments}, key=lambda each: each.vni)),
        attachments=tuple(sorted({*one.attachments, *other.attachments})),
    )


class Host:
    """A host on a leaf's cable, with one address behind one VLAN (0: untagged)."""

    def __init__(self, fabric: "FrrFabric", name: str, address: str, gateway: str) -> None:
        self.netns = PREFIX + name
        self.address = address.partition("/")[0]
        self._fabric = fabric
        octets = ":".join(f"{int(part):02x}" for part in self.address.split("."))
        sh("ip", "-n", self.netns, "link", "set", "eth0", "address", f"02:00:{octets}")  # moves with the address
        sh("ip", "-n", self.netns, "addr", "add", address, "dev", "eth0")
        sh("ip", "-n", self.netns, "route", "add", "default", "via", gateway)

    def ping(self, target: str, *, count: int = 1, wait_s: float = PATIENCE) -> bool:
        """Tell whether a host answers."""
        command = ["ip", "netns", "exec", self.netns, "ping", "-n", "-q", "-c", str(count), "-W", str(wait_s), target]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def hops(self, target: str) -> int | None:
        """Return how many routers are between this host and a target, from the TTL of its answer; None without one."""
        said = sh("ip", "netns", "exec", self.netns, "ping", "-n", "-c", "1", "-W", str(PATIENCE), target, check=False)
        ttl = next((word for word in said.split() if word.startswith("ttl=")), None)
        return 64 - int(ttl.removeprefix("ttl=")) if ttl else None

    def link_address(self, address: str) -> str | None:
        """Return the MAC address that this host has learnt for a neighbour."""
        rows = json.loads(sh("ip", "-n", self.netns, "-j", "neigh", "show", address) or "[]")
        return rows[0].get("lladdr") if rows else None


class FrrFabric:
    """The switches, their drivers, and what stands around them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.folder = Path(self._folder.name)
        self.pids: dict[str, int] = {}
        self.drivers: dict[str, SwitchDriver] = {}
        self.layout = ""
        self._hosts: list[str] = []
        self._loop = asyncio.new_event_loop()

    def build(self) -> None:
        """Make namespaces and cables, boot the switches."""
        remove_leftovers()
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key"))
        for name in (OOB, *(PREFIX + each for each in ADDRESSES)):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", OOB, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", OOB, "addr", "add", "192.168.78.1/24", "dev", "br0")
        sh("ip", "-n", OOB, "link", "set", "br0", "up")
        for name, address in ADDRESSES.items():
            self._cable(PREFIX + name, "mgmt0", OOB, name, 1500)
            sh("ip", "-n", OOB, "link", "set", name, "master", "br0")
            sh("ip", "-n", PREFIX + name, "addr", "add", f"{address}/24", "dev", "mgmt0")
        for number, leaf in enumerate(LEAVES):
            self._cable(PREFIX + leaf, "eth1", PREFIX + "spine1", f"eth{number + 1}", 9216)
            for cable in CABLES:
                sh("ip", "netns", "add", f"{PREFIX}{leaf}-{cable}")
                self._cable(PREFIX + leaf, cable, f"{PREFIX}{leaf}-{cable}", "nic", 1500)
        threading.Thread(target=namespaces.inside, args=(OOB, self._serve), daemon=True).start()
        self.run(self._boot_all())
        self.layout = self.observe("leaf1").facts.layout

    def close(self) -> None:
        """Remove everything."""
        if self._loop.is_running():
            self.run(asyncio.wait_for(self._close_drivers(), 5.0))
            self._loop.call_soon_threadsafe(self._loop.stop)
        remove_leftovers()
        self._folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the switches can be reached."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60.0 * PATIENCE)

    # --- switches ---

    async def boot(self, name: str) -> None:
        """Switch a switch on."""
        self.pids[name] = await switch.boot(
            name,
            PREFIX + name,
            workdir=self.folder / name,
            authorized_key=(self.folder / "key.pub").read_text(),
            ssh_address=ADDRESSES[name],
            environment={"PATH": os.environ["PATH"], MARK: MARK_VALUE},
            timeout_s=switch.BOOT_TIMEOUT_S * PATIENCE,
        )

    async def power_off(self, name: str) -> None:
        """Cut a switch's power."""
        await switch.stop(self.pids.pop(name))

    def on(self, name: str, *command: str) -> str:
        """Run a command on a switch."""
        return sh(*self._inside(name), *command)

    def observe(self, name: str) -> Observed:
        """Read a switch by its driver."""
        return self.run(self.drivers[name].observe())

    def take(self, desired: SwitchConfig) -> SwitchPlan:
        """Plan, apply and verify; return the plan. Fails if the switch does not show what is desired."""
        driver = self.drivers[desired.name]
        observed = self.run(driver.observe())
        steps = plan(observed.config, desired)
        if steps:
            self.run(driver.apply(steps, desired, observed))
        after = self.run(driver.observe())
        assert after.config == desired, f"{plan(after.config, desired)}\n{after.drift}"
        return steps

    def take_all(self, *desired: SwitchConfig) -> None:
        """Take several switches to what they shall be, side by side."""

        async def one(config: SwitchConfig) -> None:
            driver = self.drivers[config.name]
            observed = await driver.observe()
            steps = plan(observed.config, config)
            if steps:
                await driver.apply(steps, config, observed)

        async def together() -> None:
            await asyncio.gather(*(one(config) for config in desired))

        self.run(together())
        for config in desired:
            after = self.observe(config.name)
            assert after.config == config, f"{plan(after.config, config)}\n{after.drift}"

    def sessions_are_up(self) -> bool:
        """Tell whether every BGP session of the fabric is established."""
        seen = [self.observe(name).facts.sessions for name in ADDRESSES]
        return [len(each) for each in seen] == [4, 2, 2] and all(
            session.state == "Established" for each in seen for session in each
        )

    # --- hosts ---

    def host(self, name: str, leaf: str, cable: str, vlan: int, address: str, gateway: str) -> Host:  # noqa: PLR0917
        """Plug an instance into the host on a cable: its frames carry a VLAN on that cable, by the host's own BPF."""
        node, netns = f"{PREFIX}{leaf}-{cable}", PREFIX + name
        near = f"i{len(self._hosts)}"
        self._hosts.append(netns)
        sh("ip", "netns", "add", netns)
        sh("ip", "-n", netns, "link", "set", "lo", "up")
        self._cable(netns, "eth0", node, near, 1500)
        self._tag(leaf, node, near, vlan)
        return Host(self, name, address, gateway)

    def unplug(self, host: Host) -> None:
        """Take a host's instance away."""
        sh("ip", "netns", "del", host.netns)

    def _tag(self, leaf: str, node: str, near: str, vlan: int) -> None:
        """Lead frames between an instance and its node's cable: by a VLAN device where the kernel has them, and else
        with the leaf's own BPF program, a copy per node."""
        if self.layout == "vrf":
            port = f"nic.{vlan}" if vlan else "nic"
            if vlan:
                kind = ("type", "vlan", "id", str(vlan))
                sh("ip", "-n", node, "link", "add", "link", "nic", "name", port, *kind, check=False)
            sh("ip", "-n", node, "link", "add", f"b{vlan}", "type", "bridge", check=False)
            for each in (port, near):
                sh("ip", "-n", node, "link", "set", each, "master", f"b{vlan}", "up")
            sh("ip", "-n", node, "link", "set", f"b{vlan}", "up")
        else:
            self._tag_by_bpf(leaf, node, near, vlan)

    def _tag_by_bpf(self, leaf: str, node: str, near: str, vlan: int) -> None:
        script = f"""
        set -e; pin=/sys/fs/bpf/{node}
        if [ ! -e $pin ]; then mkdir $pin; bpftool prog loadall /run/weft/handoff.o $pin pinmaps $pin; fi
        bytes() {{ printf '%d %d 0 0 ' $(($1 & 255)) $(($1 >> 8)); }}
        nic=$(ip -o link show nic | cut -d: -f1) near=$(ip -o link show {near} | cut -d: -f1)
        bpftool map update pinned $pin/handoff key $(bytes $near)$(bytes 0) value $(bytes $nic)$(bytes {vlan})
        bpftool map update pinned $pin/handoff key $(bytes $nic)$(bytes {vlan}) value $(bytes $near)$(bytes 0)
        for each in "nic from_cable" "{near} from_segment"; do
            set -- $each
            tc qdisc replace dev $1 clsact
            tc filter replace dev $1 ingress pref 1 handle 1 protocol all bpf da object-pinned $pin/$2
        done
        """
        init = switch.daemon_pids(self.pids[leaf], "zebra")[0]
        enter = ["nsenter", f"--target={init}", "--mount", "--pid", "--root", "--wd=/", f"--net=/run/netns/{node}"]
        sh(*enter, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin", "bash", "-c", script)

    # --- plumbing ---

    def _inside(self, name: str) -> list[str]:
        init = switch.daemon_pids(self.pids[name], "watchfrr")[0]
        enter = ["nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/"]
        return [*enter, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin"]

    def _cable(self, one: str, interface: str, other: str, peer: str, mtu: int) -> None:
        ends = [("name", interface, "mtu", str(mtu), "netns", one), ("name", peer, "mtu", str(mtu), "netns", other)]
        sh("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        sh("ip", "-n", one, "link", "set", interface, "up")
        sh("ip", "-n", other, "link", "set", peer, "up")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _boot_all(self) -> None:
        await asyncio.gather(*(self.boot(name) for name in ADDRESSES))
        self.drivers = {name: self.driver(name) for name in ADDRESSES}

    def driver(self, name: str, *, term: int = 0) -> SwitchDriver:
        """Return a driver of a switch, of a controller that leads in a term."""
        settings = DriverSettings(key_file=self.folder / "key", known_hosts=self.folder / "known_hosts", term=term)
        role = SwitchRole.LEAF if name in LEAVES else SwitchRole.SPINE
        site = SiteName("test")
        return driver_for(Switch(name=SwitchName(name), site=site, role=role, management=ADDRESSES[name]), settings)

    async def _close_drivers(self) -> None:
        for driver in self.drivers.values():
            await driver.close()


def remove_leftovers() -> None:
    """Remove what the fabric has made, of this run or of one that was killed."""
    mark = f"{MARK}={MARK_VALUE}".encode()
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                marked = mark in (path / "environ").read_bytes().split(b"\0")
                if marked:
                    os.kill(int(path.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue
    for name in namespaces.existing():
        if name.startswith(PREFIX):
            sh("ip", "netns", "del", name)
