"""The steps that take a VLAN switch from what it is to what it shall be: additions first, removals last."""

from collections.abc import Iterator

from msgspec.structs import replace

from weft.fabric.config import SwitchConfig
from weft.fabric.plan import Step
from weft.fabric.vlan_config import VlanGateway, VlanPort, VlanSwitching


class SetVlanBridge(Step, frozen=True):
    """Make the bridge that switches VLANs, or give it another RSTP priority; `old` None: there is none yet."""

    op = "change"
    noun = "bridge"
    old: int | None
    new: int

    def before(self) -> list[str]:
        """Return the old bridge's line."""
        return [_bridge_line(self.old)] if self.old is not None else []

    def after(self) -> list[str]:
        """Return the new bridge's line."""
        return [_bridge_line(self.new)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the bridge."""
        present = config.vlan or VlanSwitching(priority=self.new)
        return replace(config, vlan=replace(present, priority=self.new))


class SetVlanPort(Step, frozen=True):
    """Let a port carry these VLANs, touching only what differs; `old` None: it is not on the bridge yet."""

    op = "change"
    noun = "port"
    old: VlanPort | None
    new: VlanPort

    def before(self) -> list[str]:
        """Return the old port's line."""
        return [_port_line(self.old)] if self.old is not None else []

    def after(self) -> list[str]:
        """Return the new port's line."""
        return [_port_line(self.new)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the port."""
        return _with(config, ports=(*_other_ports(config, self.new.interface), self.new))


class RemoveVlanPort(Step, frozen=True):
    """Take a port off the bridge."""

    op = "remove"
    noun = "port"
    port: VlanPort

    def before(self) -> list[str]:
        """Return the port's line."""
        return [_port_line(self.port)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration without the port."""
        return _with(config, ports=_other_ports(config, self.port.interface))


class SetVlanGateway(Step, frozen=True):
    """Give a VLAN its gateway; `old` None: it has none yet."""

    op = "change"
    noun = "gateway"
    old: VlanGateway | None
    new: VlanGateway

    def before(self) -> list[str]:
        """Return the old gateway's line."""
        return [_gateway_line(self.old)] if self.old is not None else []

    def after(self) -> list[str]:
        """Return the new gateway's line."""
        return [_gateway_line(self.new)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration with the gateway."""
        return _with(config, gateways=(*_other_gateways(config, self.new.vlan), self.new))


class RemoveVlanGateway(Step, frozen=True):
    """Take a VLAN's gateway away."""

    op = "remove"
    noun = "gateway"
    gateway: VlanGateway

    def before(self) -> list[str]:
        """Return the gateway's line."""
        return [_gateway_line(self.gateway)]

    def made(self, config: SwitchConfig) -> SwitchConfig:
        """Return the configuration without the gateway."""
        return _with(config, gateways=_other_gateways(config, self.gateway.vlan))


def vlan_steps(observed: VlanSwitching | None, desired: VlanSwitching) -> Iterator[Step]:
    """Yield the steps from what was observed to what is desired; none if they are equal.

    A gateway whose prefix moves to another VLAN is taken from the old one first.
    """
    if observed is None or observed.priority != desired.priority:
        yield SetVlanBridge(observed.priority if observed is not None else None, desired.priority)
    old_ports = {port.interface: port for port in observed.ports} if observed is not None else {}
    old_gateways = {gateway.vlan: gateway for gateway in observed.gateways} if observed is not None else {}
    new_ports = {port.interface: port for port in desired.ports}
    new_gateways = {gateway.vlan: gateway for gateway in desired.gateways}
    for interface, port in new_ports.items():
        if old_ports.get(interface) != port:
            yield SetVlanPort(old_ports.get(interface), port)
    for vlan, gateway in reversed(old_gateways.items()):
        if vlan not in new_gateways:
            yield RemoveVlanGateway(gateway)
    for vlan, gateway in new_gateways.items():
        if old_gateways.get(vlan) != gateway:
            yield SetVlanGateway(old_gateways.get(vlan), gateway)
    for interface, port in reversed(old_ports.items()):
        if interface not in new_ports:
            yield RemoveVlanPort(port)


def _with(
    config: SwitchConfig,
    *,
    ports: tuple[VlanPort, ...] | None = None,
    gateways: tuple[VlanGateway, ...] | None = None,
) -> SwitchConfig:
    present = config.vlan
    assert present is not None, f"{config.name} has no bridge yet"
    if ports is not None:
        present = replace(present, ports=tuple(sorted(ports)))
    if gateways is not None:
        present = replace(present, gateways=tuple(sorted(gateways, key=lambda each: each.vlan)))
    return replace(config, vlan=present)


def _other_ports(config: SwitchConfig, interface: str) -> tuple[VlanPort, ...]:
    return tuple(port for port in config.vlan.ports if port.interface != interface) if config.vlan else ()


def _other_gateways(config: SwitchConfig, vlan: int) -> tuple[VlanGateway, ...]:
    return tuple(gateway for gateway in config.vlan.gateways if gateway.vlan != vlan) if config.vlan else ()


def _bridge_line(priority: int) -> str:
    return f"bridge rstp priority {priority}"


def _port_line(port: VlanPort) -> str:
    untagged = f" untagged {port.untagged}" if port.untagged else ""
    tagged = f" tagged {ranges(port.tagged)}" if port.tagged else ""
    return f"{port.interface}{untagged}{tagged}{' edge' if port.edge else ''}"


def _gateway_line(gateway: VlanGateway) -> str:
    addresses = "".join(f" gateway {address}" for address in gateway.addresses)
    vrf = f" vrf {gateway.vrf}" if gateway.vrf is not None else ""
    return f"vlan {gateway.vlan}{addresses}{vrf} mtu {gateway.mtu_bytes}"


def ranges(numbers: tuple[int, ...]) -> str:
    """Return sorted numbers as people write them: ``100-102,200``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
