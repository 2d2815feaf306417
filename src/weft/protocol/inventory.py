"""The wire form of an inventory: TOML and JSON share it (examples/small-dc.toml; PUT /v1/inventory).

Tables ``sites``, ``switches``, ``nodes``, ``links`` and, if need be, ``models`` and ``exits``; link ends as
``device:interface``, ranges as ``100-3999``, addresses as text. `decode` checks shape only - types, names, unknown
keys - and reports every problem by its path; whether the parts fit together is the matter of
weft.fabric.topology.problems, which a caller may have told along.
"""

import enum
import ipaddress
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from weft.model.addresses import parse_mac
from weft.model.errors import Invalid
from weft.model.inventory import (
    Exit,
    FabricPools,
    Inventory,
    Link,
    LinkEnd,
    Node,
    NumberRange,
    Safety,
    Site,
    Switch,
    SwitchModel,
)

T = TypeVar("T", bound=msgspec.Struct)

# Names end up in device configurations, file names and namespaces, hence the small alphabet.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_HOST_PORT = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?|[0-9A-Fa-f:]+")
_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")

TABLES = ("sites", "switches", "nodes", "links", "models", "exits")
OPTIONAL_TABLES = frozenset({"models", "exits"})

MAX_PROBLEMS_SHOWN = 100
"""An Invalid lists at most this many problems and counts the rest."""


def _nothing(_: Inventory) -> Iterable[object]:
    return ()


def decode(wire: Mapping[str, Any], beside: Callable[[Inventory], Iterable[object]] = _nothing) -> Inventory:
    """Return the inventory that `wire` writes; raise one Invalid that lists every problem of shape by its path.

    After them it lists what `beside` finds in the rows that can be read and rest on none that can't.
    """
    problems: list[str] = []
    if not isinstance(wire, Mapping):
        raise Invalid(f"an inventory is a table of sites, switches, nodes and links, not {_kind(wire)}")
    problems.extend(
        f"{key}: unknown table; an inventory has sites, switches, nodes and links" for key in wire if key not in TABLES
    )
    inventory = Inventory(
        sites=_rows(Site, wire.get("sites", ()), "sites", problems),
        switches=_rows(Switch, wire.get("switches", ()), "switches", problems),
        nodes=_rows(Node, wire.get("nodes", ()), "nodes", problems),
        links=_rows(Link, wire.get("links", ()), "links", problems),
        models=_rows(SwitchModel, wire.get("models", ()), "models", problems),
        exits=_rows(Exit, wire.get("exits", ()), "exits", problems),
    )
    if problems:
        problems += map(str, beside(_sound(inventory, wire)))
        raise Invalid(listing("the inventory cannot be read", problems), kind="InventoryInvalid")
    return inventory


def _sound(inventory: Inventory, wire: Mapping[str, Any]) -> Inventory:
    """Return the rows that rest on none that could not be read: those would be told to miss it."""
    switches, nodes = inventory.switches, inventory.nodes
    if len(_raw(wire, "sites")) != len(inventory.sites) or not inventory.sites:
        sites = {str(site.name) for site in inventory.sites}
        switches = tuple(each for each in switches if each.site in sites)
        nodes = tuple(each for each in nodes if each.site in sites)
    read = {str(each.name) for each in switches} | {str(each.name) for each in nodes}
    named = (
        row.get("name") for table in ("switches", "nodes") for row in _raw(wire, table) if isinstance(row, Mapping)
    )
    broken = {str(name) for name in named} - read
    links = tuple(link for link in inventory.links if not broken & {link.a.device, link.b.device})
    return msgspec.structs.replace(inventory, switches=switches, nodes=nodes, links=links)


def _raw(wire: Mapping[str, Any], table: str) -> Sequence[Any]:
    rows = wire.get(table)
    return rows if isinstance(rows, list | tuple) else ()


def encode(inventory: Inventory) -> dict[str, Any]:
    """Return the wire form of an inventory: built-in types only, values that are not set left out."""
    return {
        name: [_encoded(row) for row in getattr(inventory, name)]
        for name in TABLES
        if name not in OPTIONAL_TABLES or getattr(inventory, name)
    }


def listing(headline: str, problems: list[str]) -> str:
    """Return one error text for many problems, a line each; bounded by MAX_PROBLEMS_SHOWN."""
    shown = problems[:MAX_PROBLEMS_SHOWN]
    rest = len(problems) - len(shown)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{headline}: {count}", *(f"  {problem}" for problem in shown)]
    return "\n".join([*lines, f"  ... and {rest} more"] if rest else lines)


def _rows(kind: type[T], raw: Any, path: str, problems: list[str]) -> tuple[T, ...]:
    if not isinstance(raw, list | tuple):
        problems.append(f"{path}: expected a list of tables, not {_kind(raw)}")
        return ()
    rows = (_row(kind, item, _label(item, f"{path}[{index}]"), problems) for index, item in enumerate(raw))
    return tuple(row for row in rows if row is not None)


def _row(kind: type[T], raw: Any, path: str, problems: list[str]) -> T | None:
    """Return one struct, field by field, so that every wrong field of it is reported and not only the first."""
    if not isinstance(raw, Mapping):
        problems.append(f"{path}: expected a table, not {_kind(raw)}")
        return None
    before = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    problems.extend(f"{path}.{key}: unknown key; known: {', '.join(fields)}" for key in raw if key not in fields)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                problems.append(f"{path}.{name}: missing")
            continue
        try:
            if (kind, name) in _NESTED and raw[name] is not None:
                values[name] = _row(_NESTED[kind, name], raw[name], f"{path}.{name}", problems)
            else:
                values[name] = _value(kind, name, field.type, raw[name])
        except ValueError as error:
            problems.append(f"{path}.{name}: {error}")
        except Invalid as error:
            problems.append(f"{path}.{name}: {error.message}")
    return kind(**values) if len(problems) == before else None


def _value(kind: type, name: str, wanted: Any, raw: Any) -> Any:
    """Return a field's value; a ValueError or Invalid says what is wrong with it."""
    optional, wanted = _optional(wanted)
    if raw is None and optional:
        return None
    special = _BY_FIELD.get((kind, name)) or _BY_TYPE.get(wanted)
    if special is not None:
        if not isinstance(raw, str):
            raise ValueError(f"expected text such as '{_SAMPLE.get(wanted, 'name1')}', not {_kind(raw)}")
        return special(raw)
    if typing.get_origin(wanted) is tuple:
        if not isinstance(raw, list | tuple) or not all(isinstance(each, str) and each for each in raw):
            raise ValueError(f"expected a list of names, not {_kind(raw)}")
        return tuple(raw)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return _choice(wanted, raw)
    if wanted is bool and not isinstance(raw, bool):
        raise ValueError(f"expected true or false, not {_kind(raw)}")
    if wanted is int and (isinstance(raw, bool) or not isinstance(raw, int)):
        raise ValueError(f"expected a number, not {_kind(raw)}")
    if wanted is str and not isinstance(raw, str):
        raise ValueError(f"expected text, not {_kind(raw)}")
    return raw


def _optional(wanted: Any) -> tuple[bool, Any]:
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        arms = [arm for arm in typing.get_args(wanted) if arm is not type(None)]
        return True, arms[0]
    return False, wanted


def _choice(wanted: type[enum.Enum], raw: Any) -> enum.Enum:
    for member in wanted:
        if member.value == raw:
            return member
    raise ValueError(f"{_kind(raw)} is none of {', '.join(str(member.value) for member in wanted)}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a name: letters, digits, '.', '_' and '-', at most 63, first a letter or digit"
        )
    return text


def _host_port(text: str) -> str:
    if not _HOST_PORT.fullmatch(text):
        raise ValueError(f"'{text}' is not a host or host:port")
    return text


def _link_end(text: str) -> LinkEnd:
    device, colon, interface = text.partition(":")
    if not colon or not _NAME.fullmatch(device) or not _INTERFACE.fullmatch(interface):
        raise ValueError(f"'{text}' is not a link end: write device:interface, such as leaf1:eth1")
    return LinkEnd(device, interface)


def _number_range(text: str) -> NumberRange:
    match = _RANGE.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a range: write first-last, such as 100-3999")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise ValueError(f"'{text}' is an empty range: {first} is greater than {last}")
    return NumberRange(first, last)


def _prefix(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is not an IPv4 prefix: {error}") from None


def _address(text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"'{text}' is not an IPv4 address") from None


def _interface_address(text: str) -> ipaddress.IPv4Interface:
    try:
        found = ipaddress.IPv4Interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text:
        raise ValueError(f"'{text}' is not an IPv4 address with its prefix length, such as 192.0.2.1/31")
    return found


def _interface_name(text: str) -> str:
    if not _INTERFACE.fullmatch(text):
        raise ValueError(f"'{text}' is not an interface's name")
    return text


_NESTED: dict[tuple[type, str], type[msgspec.Struct]] = {(Site, "fabric"): FabricPools, (Site, "safety"): Safety}
_BY_TYPE: dict[Any, Callable[[str], Any]] = {
    LinkEnd: _link_end,
    NumberRange: _number_range,
    ipaddress.IPv4Network: _prefix,
    ipaddress.IPv4Address: _address,
    ipaddress.IPv4Interface: _interface_address,
}
_BY_FIELD: dict[tuple[type, str], Callable[[str], Any]] = {
    (Site, "name"): _name,
    (Switch, "name"): _name,
    (Switch, "site"): _name,
    (Switch, "management"): _host_port,
    (Switch, "model"): _name,
    (SwitchModel, "name"): _name,
    (Node, "name"): _name,
    (Node, "site"): _name,
    (FabricPools, "gateway_mac"): parse_mac,
    (Exit, "switch"): _name,
    (Exit, "interface"): _interface_name,
    (Exit, "peer"): _name,
}
_SAMPLE: dict[Any, str] = {
    LinkEnd: "leaf1:eth1",
    NumberRange: "100-3999",
    ipaddress.IPv4Network: "10.255.0.0/24",
    ipaddress.IPv4Address: "10.255.0.1",
    ipaddress.IPv4Interface: "192.0.2.1/31",
}


def _label(item: Any, path: str) -> str:
    """Return the path with the row's own name, if it has one: people count badly."""
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"{path}({name})" if isinstance(name, str) else path


def _kind(raw: Any) -> str:
    if raw is None:
        return "nothing"
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, Mapping):
        return "a table"
    if isinstance(raw, list | tuple):
        return "a list"
    return f"'{raw}'"


def _encoded(value: Any) -> Any:
    if isinstance(
        value, LinkEnd | NumberRange | ipaddress.IPv4Network | ipaddress.IPv4Address | ipaddress.IPv4Interface
    ):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, msgspec.Struct):
        pairs = ((field, getattr(value, field)) for field in value.__struct_fields__)
        return {name: _encoded(field) for name, field in pairs if field is not None and field != ()}
    return value
