"""Generated labs: inventories without problems, of any size."""

import tomllib

import pytest

from weft.fabric.checks import problems
from weft.fabric.numbering import number
from weft.lab.generate import spine_leaf
from weft.lab.topology import wiring
from weft.model.errors import Invalid
from weft.protocol.inventory import decode


@pytest.mark.parametrize(("spines", "leaves", "nodes"), [(1, 1, 0), (2, 3, 2), (4, 16, 1), (16, 200, 1)])
def test_a_generated_lab_has_no_problems(spines: int, leaves: int, nodes: int) -> None:
    wire = tomllib.loads(spine_leaf(spines, leaves, nodes_per_leaf=nodes))
    server = wire.pop("lab")["server"]
    inventory = decode(wire)
    assert problems(inventory) == []
    assert len(number(inventory).switches) == spines + leaves
    assert wiring(inventory, server).server == "ctl1"
    assert len(inventory.nodes) == leaves * nodes + 1


def test_what_one_machine_does_not_hold_is_refused() -> None:
    with pytest.raises(Invalid, match="0 spines, 3 leaves"):
        spine_leaf(0, 3)
