"""Keeps the node's own network stack away from what the userspace datapath forwards.

With ``datapath_type=netdev`` ovs-vswitchd reads a kernel device by a packet socket, which gets a *copy*: the kernel's
stack sees every frame too. It answers ARP requests of instances for the node's addresses, past all flows, and answers
pings to the management address twice. A drop at tc ingress comes after packet sockets and before the stack. (The
kernel datapath takes frames over instead, after tc ingress: there this would cut all traffic, and nothing is needed.)
"""

from collections.abc import Collection
from typing import Protocol

from weft.agent.processes import execute

PREFERENCE = 87
"""The mark of the agent's filters."""

_DROP_ALL = "1,6 0 0 2"
"""A classic BPF program of one instruction: return TC_ACT_SHOT. (The gact action is a module that may be missing.)"""


class Guard(Protocol):
    """What keeps the kernel's stack away from devices."""

    async def keep(self, devices: Collection[str]) -> None: ...

    def distrust(self) -> None: ...


class TcGuard:
    """The guard by tc; remembers which devices it has done."""

    def __init__(self) -> None:
        self._done: set[str] = set()

    def distrust(self) -> None:
        """Do all devices again at the next occasion. Doing a device again changes nothing."""
        self._done.clear()

    async def keep(self, devices: Collection[str]) -> None:
        """Guard these devices; raise Transient naming one that could not be, after all others are."""
        self._done &= set(devices)  # a device that comes back under its name is another device
        new = sorted(set(devices) - self._done)
        if not new:
            return
        lines = []
        for name in new:
            lines.append(f"qdisc replace dev {name} clsact")
            bpf = f'bpf da bytecode "{_DROP_ALL}"'
            lines.append(f"filter replace dev {name} ingress protocol all pref {PREFERENCE} handle 1 {bpf}")
        await execute("tc", "-force", "-batch", "-", stdin="\n".join(lines) + "\n")
        self._done.update(new)


class NoGuard:
    """The guard of the kernel datapath: there is nothing to do."""

    def distrust(self) -> None:
        """Do nothing."""

    async def keep(self, devices: Collection[str]) -> None:
        """Do nothing."""
        return
