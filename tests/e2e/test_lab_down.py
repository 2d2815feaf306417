"""Whatever happened to a lab, `down` leaves the machine as it was before."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from running_lab import EXAMPLE, WEFT, until, weft

from weft.lab import state
from weft.lab.demo.machine import traces

pytestmark = pytest.mark.e2e

UP_S = 20.0
DOWN_S = 5.0
KILL_AT = ("weft-oob", "leaf3/switch", "node3/ovs-vswitchd", "ctl1/server", "node1/agent")
"""What of the lab is there when its builder is killed: each stage once."""


def test_down_leaves_nothing(no_lab: None) -> None:
    before = traces()
    built = json.loads(weft("lab", "up", str(EXAMPLE), "--json").stdout)
    assert built["up_after_s"] <= UP_S, built["milestones"]
    assert traces() - before, "a lab leaves traces while it is there, or this test sees none"
    began = time.monotonic()
    weft("lab", "down")
    assert time.monotonic() - began <= DOWN_S
    assert sorted(traces() - before) == []


@pytest.mark.parametrize("stage", KILL_AT)
def test_down_cleans_what_a_killed_up_has_made(no_lab: None, stage: str) -> None:
    before = traces()
    with subprocess.Popen([WEFT, "lab", "up", str(EXAMPLE)], stdout=subprocess.DEVNULL) as builder:
        until(lambda: _reached(stage), f"the lab has {stage}")
        builder.send_signal(signal.SIGKILL)
    again = weft("lab", "up", str(EXAMPLE), check=False)
    assert again.returncode == 1
    assert "did not finish" in again.stderr
    weft("lab", "down")
    assert sorted(traces() - before) == []


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


def _reached(stage: str) -> bool:
    found = state.find()
    if found is None:
        return False
    return stage in found.processes or (Path("/run/netns") / stage).exists()
