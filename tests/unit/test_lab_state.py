"""The lab's state: written at once, changed by one at a time, never half."""

import shutil
from pathlib import Path

import pytest

from weft.lab import state
from weft.lab.state import Instance, Process
from weft.model.errors import Conflict, NotFound


@pytest.fixture(autouse=True)
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "RUN_DIR", tmp_path)
    monkeypatch.setattr(state, "LAB_DIR", tmp_path / "lab")
    monkeypatch.setattr(state, "STATE_FILE", tmp_path / "lab" / "state.json")
    monkeypatch.setattr(state, "LOCK_FILE", tmp_path / "lab.lock")
    return tmp_path


INSTANCE = Instance(
    name="web-1", port_id="p1", node="node1", namespace="weft-i-web-1", mac="fa:16:3e:0:0:1", addresses=("10.0.0.4/24",)
)


def test_without_a_lab_there_is_nothing_to_load() -> None:
    assert state.find() is None
    with pytest.raises(NotFound, match="weft lab up"):
        state.load()


def test_what_is_written_is_read_back() -> None:
    made = state.new(Path("/dc.toml"), "ctl1")
    state.write(made)
    with state.changing() as draft:
        draft.add_namespace("weft-i-web-1")
        draft.put_instance(INSTANCE)
        draft.put_process(Process(name="node1/agent", namespace="weft-node1", argv=("weft", "agent"), pid=7))
        draft.set_phase("up", 12.5)
    found = state.load()
    assert found.id == made.id
    assert found.namespaces == ("weft-i-web-1",)
    assert found.instances == {"web-1": INSTANCE}
    assert found.processes["node1/agent"].pid == 7
    assert (found.phase, found.up_after_s) == ("up", 12.5)


def test_what_is_gone_is_forgotten() -> None:
    state.write(state.new(Path("/dc.toml"), "ctl1"))
    with state.changing() as draft:
        draft.add_namespace("weft-i-web-1")
        draft.put_instance(INSTANCE)
    with state.changing() as draft:
        draft.remove_instance("web-1")
        draft.remove_namespace("weft-i-web-1")
    assert state.load().instances == {}
    assert state.load().namespaces == ()


def test_a_change_that_fails_changes_nothing() -> None:
    before = state.new(Path("/dc.toml"), "ctl1")
    state.write(before)
    with pytest.raises(ZeroDivisionError):
        _fail_half_way()
    assert state.load() == before


def _fail_half_way() -> None:
    with state.changing() as draft:
        draft.set_phase("up")
        raise ZeroDivisionError


def test_two_operations_on_the_lab_exclude_each_other() -> None:
    with state.operating("up"):
        with pytest.raises(Conflict) as refused, state.operating("down"):
            pass
        assert "weft lab up" in refused.value.message
    with state.operating("down"):
        pass


def test_the_last_operation_leaves_no_lock(lab_dir: Path) -> None:
    with state.operating("up"):
        state.write(state.new(Path("/dc.toml"), "ctl1"))
    assert (lab_dir / "lab.lock").exists()
    with state.operating("down"):
        shutil.rmtree(lab_dir / "lab")
    assert not lab_dir.exists()
