"""Every dependency has its reason in docs/dependencies.md, and every reason its dependency."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def required() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.split(r"[\[<>=~! ]", line)[0] for line in lines}


def explained() -> set[str]:
    text = (ROOT / "docs" / "dependencies.md").read_text().partition("## Not libraries")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name.partition("[")[0] for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}


def test_each_dependency_has_a_reason_and_each_reason_a_dependency() -> None:
    assert explained() == required()
