"""How Nova shall plug an instance into a node, as a binding says it."""

from collections.abc import Mapping, Set

from weft.model.intent import Realizer

VNIC_TYPES = ("normal", "baremetal")
"""Of Neutron's, those that a node of ours can give."""

_PLUGGED: Mapping[str, object] = {
    "connectivity": "l2",
    "port_filter": True,
    "ovs_hybrid_plug": False,
    "ovs_create_tap": True,
    "datapath_type": "system",
    "bridge_name": "br-int",
}

OVS_DETAILS: Mapping[str, object] = {**_PLUGGED, "bound_drivers": {"0": "weft"}}
"""On an OVS node: straight into br-int, with no bridge between."""


def vif_type(owed: Set[Realizer]) -> str:
    """Return what kind of thing plugs the instance in, on a node where these owe a binding its realization."""
    return "ovs" if Realizer.HOST in owed else "other"


def vif_details(owed: Set[Realizer]) -> Mapping[str, object]:
    """Return how it does so."""
    return OVS_DETAILS if Realizer.HOST in owed else {}


def plugging(owed: Set[Realizer]) -> Mapping[str, object]:
    """Return how it does so as the pages of single bindings show it: without who decided."""
    return _PLUGGED if Realizer.HOST in owed else {}
