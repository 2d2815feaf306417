"""What a switch model can hold, and whether what is asked of a switch fits into it.

Seven resources are counted, each a table of the hardware: VLANs, VNIs, VRFs, MAC addresses, host routes (ARP and ND
entries included), prefixes, ACL entries. A limit that nobody wrote down is not enforced. What a switch uses is counted
by weft.fabric.leaf_table; this module compares and names what overflows.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from weft.fabric.config import SwitchConfig
from weft.fabric.models import KNOWN_MODELS
from weft.fabric.topology import Topology
from weft.model.ids import SwitchName
from weft.model.inventory import SwitchModel

MAX_VLANS = 4094
"""IEEE 802.1Q: 12 bits, of which 0 and 4095 stand for no VLAN. Holds for every model."""


class Resource(StrEnum):
    """A table of a switch that can be full; named as the fields of SwitchModel are."""

    VLANS = "vlans"
    VNIS = "vnis"
    VRFS = "vrfs"
    MACS = "macs"
    HOST_ROUTES = "host_routes"
    PREFIXES = "prefixes"
    ACL_ENTRIES = "acl_entries"

    def __str__(self) -> str:
        return _NOUNS[self]


_NOUNS = {
    Resource.VLANS: "VLANs",
    Resource.VNIS: "VNIs",
    Resource.VRFS: "VRFs",
    Resource.MACS: "MAC addresses",
    Resource.HOST_ROUTES: "host routes",
    Resource.PREFIXES: "prefixes",
    Resource.ACL_ENTRIES: "ACL entries",
}

Usage = Mapping[Resource, int]
"""How much of each resource is used, or would be; a resource that is not in it is not known."""


class Overflow(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of a switch that would be used beyond its limit."""

    switch: SwitchName
    resource: Resource
    needed: int
    limit: int
    model: str = ""

    def __str__(self) -> str:
        model = f" (model {self.model})" if self.model else ""
        return f"switch {self.switch}{model} holds {self.limit} {self.resource}, {self.needed} are needed"


def model_of(topology: Topology, switch: SwitchName) -> SwitchModel | None:
    """Return the model of a switch, the inventory's own before the known ones; None if it names none."""
    known = topology.switches.get(switch)
    if known is None or known.model is None:
        return None
    own = next((model for model in topology.inventory.models if model.name == known.model), None)
    return own if own is not None else KNOWN_MODELS.get(known.model)


def limits_of(topology: Topology, switch: SwitchName) -> dict[Resource, int]:
    """Return the limits of a switch; a resource without one is left out."""
    model = model_of(topology, switch)
    written = {resource: getattr(model, resource.value) for resource in Resource} if model is not None else {}
    found: dict[Resource, int] = {resource: limit for resource, limit in written.items() if limit is not None}
    found[Resource.VLANS] = min(found.get(Resource.VLANS, MAX_VLANS), MAX_VLANS)
    return found


def config_usage(config: SwitchConfig) -> dict[Resource, int]:
    """Return what a configuration alone says of a switch's usage: VLANs, VNIs and VRFs.

    MAC addresses and routes come from the other switches; weft.fabric.leaf_table counts them from intent.
    """
    return {
        Resource.VLANS: len({attachment.vlan for attachment in config.attachments if attachment.vlan}),
        Resource.VNIS: len(config.segments) + len(config.vrfs),
        Resource.VRFS: len(config.vrfs),
    }


def overflows(topology: Topology, switch: SwitchName, usage: Usage) -> list[Overflow]:
    """Return every resource of which a switch would need more than it has; none if it all fits."""
    model = model_of(topology, switch)
    name = model.name if model is not None else ""
    return [
        Overflow(switch=switch, resource=resource, needed=usage[resource], limit=limit, model=name)
        for resource, limit in limits_of(topology, switch).items()
        if usage.get(resource, 0) > limit
    ]


def exceeded(topology: Topology, configs: Iterable[SwitchConfig]) -> Iterator[Overflow]:
    """Yield what configurations that are to be pushed would overflow. Costs what the configurations hold."""
    for config in configs:
        yield from overflows(topology, config.name, config_usage(config))
