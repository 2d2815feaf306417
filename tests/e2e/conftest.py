"""A whole lab for the tests: built when the first test asks for it, shared by all that leave it whole.

A test that takes `lab` gets one that has converged; a test that takes `no_lab` finds none, and may build and break its
own: the next test that takes `lab` gets a new one. After the last test there is none.
"""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pod_nodes
import pytest
import scene
from pod_nodes import Pods
from running_lab import EXAMPLE, Lab, weft
from tests.runtimes.containerd import Containerd

from weft.lab import processes, state


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what the lab looks like into the report of a test that fails."""
    report = yield
    if report.failed and call.when == "call" and (found := state.find()) is not None:
        report.sections.extend(scene.describe(found))
    return report


@pytest.fixture(scope="session")
def machine() -> Iterator[None]:
    """The machine: root's, with no lab of anybody else on it, and none of ours when the tests are done."""
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests build a lab: run them as root, with `make test`")
    if (found := state.find()) is not None:
        if processes.of_lab(found.id, found.namespaces):
            pytest.fail(f"a lab of {found.file} is up on this machine: `weft lab down` first")
        weft("lab", "down")  # the wreck of one: nothing of it has run since the machine was started
    yield
    weft("lab", "down")


@pytest.fixture
def lab(machine: None) -> Iterator[Lab]:
    """A lab of examples/small-dc.toml that has converged."""
    found = state.find()
    if found is None or found.phase != "up":
        weft("lab", "down")
        weft("lab", "up", str(EXAMPLE))
    made = Lab()
    yield made
    made.client.close()


@pytest.fixture
def no_lab(machine: None) -> Iterator[None]:
    """No lab, before and after."""
    weft("lab", "down")
    yield
    weft("lab", "down")


@pytest.fixture
def running(no_lab: None) -> Iterator[Callable[[Path], Lab]]:
    """Builds a lab of another file; afterwards there is none."""
    made: list[Lab] = []

    def build(file: Path) -> Lab:
        weft("lab", "up", str(file))
        made.append(Lab())
        return made[-1]

    yield build
    for lab in made:
        lab.client.close()


@pytest.fixture(scope="module")
def containerds(machine: None) -> Iterator[dict[str, tuple[Containerd, ...]]]:
    """The container runtimes of a lab, by the lab's id: made when the first test of a module asks for them."""
    made: dict[str, tuple[Containerd, ...]] = {}
    yield made
    for each in (node for nodes in made.values() for node in nodes):
        each.close()


@pytest.fixture
def pods(lab: Lab, containerds: dict[str, tuple[Containerd, ...]], tmp_path: Path) -> Iterator[Pods]:
    """Two nodes that run pods in a network of theirs; all pods are gone afterwards."""
    if lab.state.id not in containerds:
        containerds[lab.state.id] = pod_nodes.start(lab, tmp_path)
    made = Pods(lab, containerds[lab.state.id])
    yield made
    made.clear()
