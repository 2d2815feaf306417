"""The form of FRR's configuration text: a tree of lines, where a line's block is what stands indented below it.

``show running-config`` closes blocks with ``exit``, ``exit-vrf`` or ``exit-address-family`` and separates them with
``!``. Neither says anything, so the tree has neither; printing a tree puts them back where FRR 10.3 puts them.
"""

from collections.abc import Iterator

Tree = dict[str, "Tree"]
"""A line to its block, in the order of the text; a line without a block has an empty one."""

Path = tuple[str, ...]
"""A line with the lines that its block stands under, outermost first."""

_NO_CONTENT = ("!", "#", "%", "Building configuration", "Current configuration:")
_CLOSING = ("exit", "end")


def parse(text: str) -> Tree:
    """Return the tree of a configuration in the form of ``show running-config``. Unknown lines are kept."""
    tree: Tree = {}
    open_blocks: list[tuple[int, Tree]] = [(-1, tree)]
    for line in text.splitlines():
        words = line.strip()
        if not words or words.startswith(_NO_CONTENT) or words.split("-")[0] in _CLOSING:
            continue
        depth = len(line) - len(line.lstrip())
        while open_blocks[-1][0] >= depth:
            open_blocks.pop()
        block = open_blocks[-1][1].setdefault(words, {})
        open_blocks.append((depth, block))
    return tree


def text(tree: Tree) -> str:
    """Print a tree as ``show running-config`` of FRR 10.3 does, byte for byte, for the blocks that weft writes."""
    lines: list[str] = []
    for line, block in tree.items():
        lines.append(line)
        if is_block(line):
            for inner, inner_block in block.items():
                lines += [" !"] if inner_block else []
                lines.append(f" {inner}")
                lines += [f"  {each}" for each in inner_block]
                lines += [f" {closing(inner)}"] if inner_block else []
            lines += [closing(line), "!"]
    return "".join(f"{line}\n" for line in lines)


def is_block(line: str) -> bool:
    """Tell whether a line opens a block, even an empty one."""
    return line.startswith(("interface ", "router ", "vrf ", "address-family "))


def closing(line: str) -> str:
    """Return the line that leaves the block of `line`."""
    if line.startswith("address-family "):
        return "exit-address-family"
    return "exit-vrf" if line.startswith("vrf ") else "exit"


def paths(tree: Tree, under: Path = ()) -> Iterator[Path]:
    """Yield every line of a tree with where it stands."""
    for line, block in tree.items():
        yield (*under, line)
        yield from paths(block, (*under, line))


def holds(tree: Tree, path: Path) -> bool:
    """Tell whether a line stands in a tree, under the lines that it stands under here."""
    for line in path:
        if line not in tree:
            return False
        tree = tree[line]
    return True


def put(tree: Tree, path: Path) -> None:
    """Add a line, and the lines it stands under, unless they are there."""
    for line in path:
        tree = tree.setdefault(line, {})


def commands(tree: Tree) -> list[str]:
    """Return what is to be typed in configuration mode for a tree of lines; a line that says ``no`` may be in it."""
    typed: list[str] = []
    for line, block in tree.items():
        typed.append(line)
        if is_block(line):
            typed += [f" {each}" for each in commands(block)]
            typed.append(closing(line))
    return typed
