"""Problems of an inventory name the lines of its file."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli.inventory import inventory
from weft.fabric.checks import problems_of_part
from weft.fabric.topology import problems
from weft.model.errors import Invalid
from weft.protocol.inventory import decode
from weft.protocol.inventory_lines import InventoryLines

TEXT = """\
# A site
[[sites]]
name = "private"

[sites.fabric]
loopbacks = "10.255.0.0/24"
links = "10.255.0.0/24"

[[switches]]
name = "spine1"
site = "private"
role = "spine"
management = "192.168.0.11"

[[switches]]
name = "leaf1"
site = "nowhere"
role = "leef"
management = "192.168.0.11"
asn = 65101

[[links]]
a = "leaf1:eth1"
b = "spine1:eth1"

[[links]]
a = "leaf1:eth1"
b = "spine1:eth2"
"""


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        ("switches[1](leaf1).role: 'leef' is none of spine, leaf", 18),
        ("switches[1](leaf1).colour: unknown key; known: name, site", 15),
        ("switches[1](leaf1): expected a table", 15),
        ("sites[0](private).fabric.links: '10' is not an IPv4 prefix", 7),
        ("switches[9].name: missing", None),
        ("site private: links 10.255.0.0/24 overlaps loopbacks 10.255.0.0/24", 7),
        ("switch leaf1: management address 192.168.0.11 is also that of spine1", 19),
        ("switch leaf1: ASN 65101 is that of the spines of site 'private'", 20),
        ("switch leaf1: is isolated: no link joins it to a spine of site 'private'", 17),
        ("link leaf1:eth1 - spine1:eth2: interface leaf1:eth1 is already used by link leaf1:eth1 - spine1:eth1", 26),
        ("switch leaf9: is not there", None),
        ("colours: unknown table; an inventory has sites, switches, nodes and links", None),
        ("the inventory has 3 problems", None),
    ],
)
def test_a_problem_is_found_in_the_file(problem: str, line: int | None) -> None:
    assert InventoryLines(TEXT).line_of(problem) == line


def test_every_problem_of_a_broken_example_has_a_line() -> None:
    text = TEXT.replace('"leef"', '"leaf"').replace('"nowhere"', '"elsewhere"')
    found = problems(decode(tomllib.loads(text)))
    lines = InventoryLines(text)
    assert len(found) >= 4
    assert all(lines.line_of(str(each)) is not None for each in found), [str(each) for each in found]


def test_the_command_says_file_and_line_of_each(tmp_path: Path) -> None:
    file = tmp_path / "dc.toml"
    file.write_text(TEXT)
    result = CliRunner().invoke(inventory, ["check", str(file)])
    assert isinstance(result.exception, Invalid)
    assert f"{file}:18: switches[1](leaf1).role" in result.exception.message
    assert f"{file}:7: site private: links 10.255.0.0/24 overlaps" in result.exception.message, "all in one report"
    assert "2 problems" in result.exception.message.splitlines()[0], "and nothing that leaf1's absence would explain"


WRONG = {  # what is to be found in the example whichever other row cannot be read
    ("switches", 3): {"management": "192.168.0.11"},
    ("switches", 4): {"asn": 65000},
    ("nodes", 2): {"site": "nowhere"},
    ("links", 3): {"a": "leaf1:eth1"},
}


def test_what_cannot_be_read_hides_nothing_and_is_no_reason_for_anything() -> None:
    wire = tomllib.loads((Path(__file__).parents[2] / "examples" / "small-dc.toml").read_text())
    del wire["lab"]
    for (table, place), values in WRONG.items():
        wire[table][place] |= values
    everything = {str(each) for each in problems(decode(wire))}
    assert len(everything) >= len(WRONG)
    for table in ("sites", "switches", "nodes", "links"):
        for place, row in enumerate(wire[table]):
            broken = {**wire, table: [{**each, "colour": "red"} if each is row else each for each in wire[table]]}
            with pytest.raises(Invalid) as raised:
                decode(broken, problems_of_part)
            _, shape, *told = (line.strip() for line in raised.value.message.splitlines())
            assert f"{table}[{place}]" in shape
            assert set(told) <= everything, f"without {table}[{place}]"
            assert told or table == "sites"


def test_a_file_written_otherwise_has_no_lines() -> None:
    lines = InventoryLines('switches = [{name = "leaf1", role = "leef"}]')
    assert (
        lines.located("dc.toml", "switches[0](leaf1).role: 'leef' is none") == "switches[0](leaf1).role: 'leef' is none"
    )
