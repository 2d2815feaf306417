"""A port's network: named, or any that has the labels of ``network_labels``; the answer then says which, and why."""

from collections.abc import Sequence
from typing import Any

import msgspec

from weft.api.neutron.attributes import Attribute, bad_request
from weft.api.neutron.rows import Values
from weft.api.neutron.values import Refused, described, dictionary, identifier
from weft.intent.choice import ChosenPort, create_port_by_labels
from weft.intent.ports import PortSpec, create_port, create_ports
from weft.model.ids import NetworkId
from weft.store import PortView, Transaction

MAX_LABELS = 64
MAX_LABEL_LENGTH = 255


def labels(value: object) -> dict[str, str]:
    """Accept an object of strings; null is an empty one."""
    given = dictionary(value)
    if len(given) > MAX_LABELS:
        raise Refused(f"{len(given)} labels are more than {MAX_LABELS}")
    found = {}
    for key, each in given.items():
        if not key or not isinstance(each, str) or max(len(key), len(each)) > MAX_LABEL_LENGTH or "\0" in key + each:
            raise Refused(f"'{key}': '{each}' is not a label: a name and a text, of up to {MAX_LABEL_LENGTH} each")
        found[key] = each
    return found


described(
    labels,
    {
        "type": ["object", "null"],
        "maxProperties": MAX_LABELS,
        "propertyNames": {"minLength": 1, "maxLength": MAX_LABEL_LENGTH},
        "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_LENGTH},
    },
)

LABELS = Attribute(labels, put=True, filters=False, sorts=False)
"""What a network is chosen by."""

SELECTOR = {
    "network_id": Attribute(identifier),
    "network_labels": Attribute(labels, filters=False, sorts=False),
}
"""What stands in a port to say which network it is for."""


def create_where_asked(tx: Transaction, asked: Sequence[tuple[Values, dict[str, Any]]]) -> list[PortView]:
    """Create ports, each of its fields, in the network that its values name, or in one that has the labels they name.

    `asked` are the values and the fields of each.
    """
    if len(asked) == 1 or any(values.get("network_id") is None for values, _ in asked):
        return [_create_one(tx, values, fields) for values, fields in asked]
    return create_ports(tx, [PortSpec(network_id=_named(values), **fields) for values, fields in asked])


def _create_one(tx: Transaction, values: Values, fields: dict[str, Any]) -> PortView:
    if values.get("network_id") is not None:
        return create_port(tx, PortSpec(network_id=_named(values), **fields))
    wanted = values.get("network_labels")
    if not wanted:
        raise bad_request("Failed to parse request. Required attribute 'network_id' not specified")
    return create_port_by_labels(tx, PortSpec(network_id=NetworkId(""), **fields), wanted)


def _named(values: Values) -> NetworkId:
    if values.get("network_labels"):
        raise bad_request("'network_id' and 'network_labels' cannot both be given: one says which network, one chooses")
    return NetworkId(values["network_id"])


def explained(view: PortView) -> dict[str, object]:
    """Return what a new port's answer says besides the port: why it is in its network, if that was chosen."""
    if not isinstance(view, ChosenPort):
        return {}
    return {"network_choice": msgspec.to_builtins(view.choice)}
