"""Reading a lab's FILE: what is wrong is said with its place."""

from pathlib import Path

import pytest

from weft.lab.file import read
from weft.model.errors import Invalid

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"


def test_the_example_is_in_order() -> None:
    found = read(EXAMPLE)
    assert found.wiring.server == "ctl1"
    assert "lab" not in found.wire
    assert found.nics("node1") == ("nic0", "nic1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lab\n", "line 1"),
        ("sites = []\n", "no [lab] table"),
        ("[lab]\n", "missing required field `server`"),
        ("[lab]\nserver = 7\n", "Expected `str`, got `int`"),
        ('[lab]\nserver = "a"\ncolour = "red"\n', "unknown field `colour`"),
        ('lab = "ctl1"\n', "Expected `object`, got `str`"),
        ('[[switches]]\nname = 3\n[lab]\nserver = "a"\n', "switches[0]"),
        ('[lab]\nserver = "ctl1"\n', 'server = "ctl1": no such node'),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "dc.toml"
    path.write_text(text)
    with pytest.raises(Invalid) as refused:
        read(path)
    assert said in refused.value.message


def test_a_problem_between_the_parts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dc.toml"
    path.write_text(EXAMPLE.read_text() + '\n[[links]]\na = "leaf1:eth1"\nb = "node1:nic2"\n'.replace("[lab]", ""))
    with pytest.raises(Invalid) as refused:
        read(path)
    assert "leaf1:eth1" in refused.value.message


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        read(tmp_path / "nowhere.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="UTF-8"):
        read(tmp_path / "binary")
