"""The node's own links: NICs up, br-bond up with the management address, the routes by its gateway.

Observed with ``ip -json``, changed with one ``ip -batch``: this happens at start, after ovs-vswitchd came back (in the
userspace datapath br-bond vanishes with it) and at each verification, never on the path of a spawn.
"""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from weft.agent.ovs.observed import UPLINK
from weft.agent.processes import execute
from weft.agent.settings import AgentSettings
from weft.model.addresses import parse_address, parse_interface
from weft.model.errors import Transient

ROUTE_PROTOCOL = 87
"""The mark of the agent's routes (rtnetlink(7), rtm_protocol; above RTPROT_STATIC, unassigned)."""

_DEFAULT_METRICS = {0, 1024}
"""What a route has that was made without one: 0 in IPv4, 1024 in IPv6."""

RETRY_AFTER_S = 0.05
RETRY_MAX_S = 10.0

log = structlog.get_logger()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface of the kernel."""

    up: bool
    mtu_bytes: int
    mac: str
    addresses: tuple[str, ...] = ()
    """With prefix lengths, such as ``172.31.1.11/24``."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route of the main table."""

    destination: str
    gateway: str | None
    device: str
    metric: int = 0


class KernelLinks(msgspec.Struct, frozen=True, kw_only=True):
    """The links and routes of the node's namespace."""

    links: Mapping[str, Link] = {}
    routes: tuple[Route, ...] = ()


class LinkPlan(msgspec.Struct, frozen=True):
    """Lines for ``ip -batch``, in order, and what cannot be put right by the agent."""

    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def plan_links(settings: AgentSettings, seen: KernelLinks) -> LinkPlan:
    """Return what makes the links as the settings ask; nothing for what is right. Pure."""
    lines: list[str] = []
    problems: list[str] = []
    for name in (*settings.nics, UPLINK):
        link = seen.links.get(name)
        if link is None:
            problems.append(f"there is no interface {name}")
            continue
        if link.mtu_bytes != settings.mtu_bytes:
            lines.append(f"link set dev {name} mtu {settings.mtu_bytes}")
        if name in settings.nics:
            lines += _silence_lines(name, link)
        if not link.up:
            lines.append(f"link set dev {name} up")
    if settings.management is not None and UPLINK in seen.links:
        lines += _address_lines(settings, settings.management, seen)
        for destination in settings.routes if settings.gateway else ():
            line, problem = _route_line(settings, destination, seen)
            lines += [line] if line else []
            problems += [problem] if problem else []
    return LinkPlan(tuple(lines), tuple(problems))


def _silence_lines(nic: str, link: Link) -> list[str]:
    """Keep the kernel from speaking for itself on a NIC: its IPv6 solicits routers and joins groups unasked.

    A NIC may have br-bond's own MAC address. A frame of the kernel's by the bond's standby member makes the leaf learn
    that address there, and what it sends to the node by that cable is dropped until the node itself sends again.
    """
    own = [each for each in link.addresses if parse_interface(each).ip.is_link_local and ":" in each]
    lines = [f"link set dev {nic} addrgenmode none"] if own or not link.up else []
    return lines + [f"address del {address} dev {nic}" for address in own]


def _address_lines(settings: AgentSettings, management: str, seen: KernelLinks) -> list[str]:
    """The address goes to br-bond; a NIC that an installer gave it to loses it, or answers would leave by the NIC."""
    address = str(parse_interface(management))
    lines = []
    if address not in seen.links[UPLINK].addresses:
        lines.append(f"address add {address} dev {UPLINK}")
    for nic in settings.nics:
        if nic in seen.links and address in seen.links[nic].addresses:
            lines.append(f"address del {address} dev {nic}")
    return lines


def _route_line(settings: AgentSettings, destination: str, seen: KernelLinks) -> tuple[str, str]:
    """Return the line that makes a route, or the problem that somebody else has it; neither if it is there."""
    gateway = str(parse_address(settings.gateway or ""))
    wanted = str(parse_interface(destination).network)
    rivals = [route for route in seen.routes if route.destination == wanted and route.metric in _DEFAULT_METRICS]
    if any(route.device == UPLINK and route.gateway == gateway for route in rivals):
        return "", ""
    if foreign := [route for route in rivals if route.device not in {UPLINK, *settings.nics}]:
        owner = f"{foreign[0].device} by {foreign[0].gateway}"
        return "", f"the route {wanted} is taken by {owner}: remove it, or name other routes in the settings"
    return f"route replace {wanted} via {gateway} dev {UPLINK} proto {ROUTE_PROTOCOL}", ""


def parse_links(addresses: Sequence[Mapping[str, Any]], routes: Sequence[Mapping[str, Any]]) -> KernelLinks:
    """Read what ``ip -json address`` and ``ip -json route`` say."""
    return KernelLinks(
        links={entry["ifname"]: _link(entry) for entry in addresses},
        routes=tuple(_route(entry) for entry in routes if "dev" in entry),
    )


def _link(entry: Mapping[str, Any]) -> Link:
    return Link(
        up="UP" in entry["flags"],
        mtu_bytes=entry["mtu"],
        mac=entry.get("address", ""),
        addresses=tuple(
            str(ipaddress.ip_interface(f"{info['local']}/{info['prefixlen']}"))
            for info in entry.get("addr_info", ())
            if "local" in info
        ),
    )


def _route(entry: Mapping[str, Any]) -> Route:
    destination = entry["dst"]
    if destination == "default":
        destination = "::/0" if ":" in entry.get("gateway", "") else "0.0.0.0/0"
    elif "/" not in destination:
        destination = str(ipaddress.ip_network(destination))
    metric = entry.get("metric", 0)
    return Route(destination=destination, gateway=entry.get("gateway"), device=entry["dev"], metric=metric)


class Links:
    """The kernel's links by iproute2."""

    def __init__(self, settings: AgentSettings) -> None:
        management = parse_interface(settings.management) if settings.management else None
        self._family = "-6" if management is not None and management.version == 6 else "-4"

    async def observe(self) -> KernelLinks:
        """Read links and routes; raise Transient if that fails."""
        addresses = await execute("ip", "-json", "address", "show")
        routes = await execute("ip", "-json", self._family, "route", "show", "table", "main")
        return parse_links(json.loads(addresses or "[]"), json.loads(routes or "[]"))

    async def apply(self, lines: Sequence[str]) -> None:
        """Make changes in order; raise Transient naming the first that the kernel refused."""
        await execute("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


class NodeLinks(Protocol):
    """What LinkKeeper needs; Links is one."""

    async def observe(self) -> KernelLinks: ...

    async def apply(self, lines: Sequence[str]) -> None: ...


class LinkKeeper:
    """Keeps the links as the settings ask: looks when told to, again soon after a change or a problem, else never."""

    def __init__(self, settings: AgentSettings, links: NodeLinks) -> None:
        self._settings = settings
        self._links = links
        self._seen: KernelLinks | None = None
        self._problems: tuple[str, ...] = ()
        self._attempts = 0
        self.due_at = 0.0
        """When to call `keep` next; infinity if all is right."""

    @property
    def right(self) -> bool:
        """Whether all was right when last looked at."""
        return self.due_at == float("inf")

    def distrust(self) -> None:
        """Look again at the next occasion."""
        self._attempts = 0
        self.due_at = 0.0

    async def hardware_address(self) -> str | None:
        """Return the MAC address of the first NIC; None if there is no such NIC."""
        if self._seen is None:
            self._seen = await self._links.observe()
        link = self._seen.links.get(self._settings.nics[0])
        return link.mac if link is not None else None

    async def keep(self, now: float) -> None:
        """Put right what is wrong, if it is time to. What fails is tried again at `due_at`."""
        if now < self.due_at:
            return
        try:
            self._seen = await self._links.observe()
            wanted = plan_links(self._settings, self._seen)
            if wanted.lines:
                log.info("links_changed", lines=wanted.lines)
                await self._links.apply(wanted.lines)
        except Transient as error:
            wanted = LinkPlan(problems=(error.message,))
        if wanted.problems != self._problems:
            log.warning("links_wrong" if wanted.problems else "links_right", problems=wanted.problems)
            self._problems = wanted.problems
        if wanted.lines or wanted.problems:
            self.due_at = now + min(RETRY_MAX_S, RETRY_AFTER_S * 2**self._attempts)
            self._attempts = min(self._attempts + 1, 10)
        else:
            self.due_at = float("inf")
