"""The file of a spine-leaf lab of any size: what `weft lab generate` prints."""

from collections.abc import Iterator

from weft.model.errors import Invalid

MAX_SPINES, MAX_LEAVES = 16, 200
SPINE_ADDRESS, LEAF_ADDRESS = 10, 30
"""The last octets of the first spine and the first leaf on the out-of-band network; leaves come after all spines."""


def spine_leaf(spines: int, leaves: int, *, nodes_per_leaf: int = 1) -> str:
    """Return the text of a lab file: each leaf on each spine, nodes bonded to their leaf, the server on the first one.

    Raise Invalid for numbers that one machine and one /24 of management addresses do not hold.
    """
    if not (1 <= spines <= MAX_SPINES and 1 <= leaves <= MAX_LEAVES and nodes_per_leaf >= 0):
        asked = f"{spines} spines, {leaves} leaves, {nodes_per_leaf} nodes on each"
        raise Invalid(f"{asked}: a lab holds 1 to {MAX_SPINES} spines and 1 to {MAX_LEAVES} leaves")
    return "\n".join(_lines(spines, leaves, nodes_per_leaf)) + "\n"


def _lines(spines: int, leaves: int, nodes_per_leaf: int) -> Iterator[str]:
    yield f"# {spines} spines, {leaves} leaves, {nodes_per_leaf} nodes on each leaf: made by `weft lab generate`."
    yield from ("", "[[sites]]", 'name = "private"', "", "[sites.fabric]")
    yield from ('loopbacks = "10.255.0.0/23"', 'links = "10.252.0.0/15"', 'management = "172.31.0.0/16"')
    for number in range(1, spines + 1):
        yield from _switch(f"spine{number}", "spine", SPINE_ADDRESS + number)
    for number in range(1, leaves + 1):
        yield from _switch(f"leaf{number}", "leaf", LEAF_ADDRESS + number)
    nodes = [(leaf, at) for leaf in range(1, leaves + 1) for at in range(1, nodes_per_leaf + 1)]
    for leaf, at in nodes:
        yield from ("", "[[nodes]]", f'name = "node{leaf}-{at}"', 'site = "private"')
    yield from ("", "[[nodes]]", 'name = "ctl1"', 'site = "private"', 'dataplane = "none"')
    for leaf in range(1, leaves + 1):
        for spine in range(1, spines + 1):
            yield from _link(f"leaf{leaf}:eth{spine}", f"spine{spine}:eth{leaf}")
    for leaf, at in nodes:
        for nic in (0, 1):
            yield from _link(f"leaf{leaf}:eth{spines + 2 * at - 1 + nic}", f"node{leaf}-{at}:nic{nic}")
    yield from _link(f"leaf1:eth{spines + 2 * nodes_per_leaf + 1}", "ctl1:nic0")
    yield from ("", "[lab]", 'server = "ctl1"')


def _switch(name: str, role: str, address: int) -> Iterator[str]:
    yield from ("", "[[switches]]", f'name = "{name}"', 'site = "private"', f'role = "{role}"')
    yield f'management = "192.168.0.{address}"'


def _link(a: str, b: str) -> Iterator[str]:
    yield from ("", "[[links]]", f'a = "{a}"', f'b = "{b}"')
