"""The lab's FILE: an inventory in TOML, and a [lab] table that says what only a lab needs to know."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from weft.fabric.checks import problems, problems_of_part
from weft.lab.topology import Wiring, wiring
from weft.model.errors import Invalid
from weft.model.inventory import Inventory
from weft.protocol.inventory import decode
from weft.protocol.inventory_lines import InventoryLines


class _LabTable(msgspec.Struct, forbid_unknown_fields=True):
    server: str


@dataclass(frozen=True, slots=True)
class LabFile:
    """A file that was read and can be built."""

    path: Path
    wire: Mapping[str, Any]
    """The inventory as it is sent to the server."""
    inventory: Inventory
    wiring: Wiring

    def nics(self, node: str) -> tuple[str, ...]:
        """Return the NICs of a node, in the order of its cables."""
        ends = (end for link in self.inventory.links for end in (link.a, link.b))
        return tuple(end.interface for end in ends if end.device == node)


def read(path: Path) -> LabFile:
    """Read a lab's file; raise Invalid, with all that is wrong, if no lab can be built of it."""
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path} is not TOML: {error}") from None
    table = document.pop("lab", None)
    if table is None:
        raise Invalid(f'{path} has no [lab] table; it says which node the server runs on: server = "ctl1"')
    try:
        lab = msgspec.convert(table, type=_LabTable)
    except msgspec.ValidationError as error:
        raise Invalid(f'{path}, table [lab]: {error}; it holds server = "NODE"') from None
    try:
        inventory = _in_order(path, document)
        built = wiring(inventory, lab.server)
    except Invalid as error:
        raise Invalid(InventoryLines(path.read_text()).in_message(str(path), error.message), kind=error.kind) from None
    return LabFile(path, document, inventory, built)


def _in_order(path: Path, document: Mapping[str, Any]) -> Inventory:
    inventory = decode(document, problems_of_part)
    found = problems(inventory)
    if found:
        listed = "\n".join(f"  - {each.where}: {each.message}" for each in found)
        raise Invalid(f"{path}: the inventory has {len(found)} problem(s):\n{listed}")
    return inventory
