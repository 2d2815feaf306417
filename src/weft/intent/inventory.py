"""The inventory, replaced as a whole."""

from weft.fabric.numbering import Numbering
from weft.model.inventory import Inventory
from weft.store import Transaction


def replace_inventory(tx: Transaction, inventory: Inventory) -> Numbering:
    """Replace the inventory."""
    raise NotImplementedError
