"""Whatever happened to a lab, `down` leaves the machine as it was before."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from running_lab import EXAMPLE, WEFT, until, weft

from weft.lab import processes, state
from weft.lab.demo.machine import traces
from weft.lab.file import read

pytestmark = pytest.mark.e2e

UP_S = 20.0
DOWN_S = 5.0
KILL_AT = ("weft-oob", "leaf3/switch", "node3/ovs-vswitchd", "ctl1/server", "node1/agent")
"""What of the lab is there when its builder is killed: each stage once."""


def test_down_leaves_nothing(no_lab: None) -> None:
    before = traces()
    built = json.loads(weft("lab", "up", str(EXAMPLE), "--json").stdout)
    assert built["up_after_s"] <= UP_S, built["milestones"]
    there = left(before, built["id"])
    for kind in ("namespace", "mount", "process", "file"):
        assert any(each.startswith(kind) for each in there), f"a lab has a {kind}, or this test sees none"
    began = time.monotonic()
    weft("lab", "down")
    assert time.monotonic() - began <= DOWN_S
    assert left(before, built["id"]) == []


@pytest.mark.parametrize("stage", KILL_AT)
def test_down_cleans_what_a_killed_up_has_made(no_lab: None, stage: str) -> None:
    before = traces()
    with subprocess.Popen([WEFT, "lab", "up", str(EXAMPLE)], stdout=subprocess.DEVNULL) as builder:
        until(lambda: _reached(stage), f"the lab has {stage}")
        builder.send_signal(signal.SIGKILL)
    lab_id = state.load().id
    again = weft("lab", "up", str(EXAMPLE), check=False)
    assert again.returncode == 1
    assert "did not finish" in again.stderr
    weft("lab", "down")
    assert left(before, lab_id) == []


def test_down_twice_in_a_row_and_with_no_lab(no_lab: None) -> None:
    assert "no lab" in weft("lab", "down").stdout
    assert "no lab" in weft("lab", "down").stdout


def test_a_file_that_is_wrong_makes_nothing(no_lab: None, tmp_path: Path) -> None:
    before = traces()
    wrong = tmp_path / "dc.toml"
    wrong.write_text(EXAMPLE.read_text().replace('server = "ctl1"', 'server = "ctl9"'))
    done = weft("lab", "up", str(wrong), check=False)
    assert done.returncode == 1
    assert "ctl9" in done.stderr
    assert traces() == before


def left(before: frozenset[str], lab_id: str) -> list[str]:
    """Return what is there of a lab and was not before.

    Others may use this machine meanwhile: what bears neither weft's name nor that of a cable's end is theirs.
    """
    ends = {plug.interface for each in read(EXAMPLE).wiring.cables for plug in (each.a, each.b)}
    found = [each for each in traces() - before if not each.startswith("process")]
    ours = [each for each in found if "weft" in each or ends & set(re.split(r"[ :@]", each))]
    return sorted(ours) + [f"process {pid}" for pid in sorted(processes.of_lab(lab_id, []))]


def _reached(stage: str) -> bool:
    found = state.find()
    if found is None:
        return False
    return stage in found.processes or (Path("/run/netns") / stage).exists()
