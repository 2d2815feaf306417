"""A Kubernetes cluster for the tests of this folder, made when the first of them asks for it. docs/kubernetes.md.

Its programs come from the folder that WEFT_KUBERNETES names; `scripts/kubernetes-test` builds them and runs the tests.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from tests.e2e.running_lab import EXAMPLE, weft

from weft.lab import processes, state

NEEDED = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
FOLDER = Path(os.environ.get("WEFT_KUBERNETES") or Path(__file__).parents[2] / "build" / "kubernetes").absolute()
IMAGE = FOLDER / "weft.tar"
"""The image of deploy/Containerfile, as an archive of the OCI layout."""


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of Kubernetes' programs."""
    missing = [each for each in NEEDED if not os.access(FOLDER / each, os.X_OK)]
    if missing:
        pytest.skip(f"{FOLDER} has no {', '.join(missing)}: scripts/kubernetes-test builds them")
    if os.geteuid() != 0:
        pytest.fail("these tests build a lab: run them as root, with scripts/kubernetes-test")
    return FOLDER


@pytest.fixture(scope="session")
def made(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all tests share."""
    found = state.find()
    if found is not None and processes.of_lab(found.id, found.namespaces):
        pytest.fail(f"a lab of {found.file} is up on this machine: `weft lab down` first")
    began = time.monotonic()
    weft("lab", "down")  # the wreck of one, if there is any
    weft("lab", "up", str(EXAMPLE))
    cluster: Cluster | None = None
    try:
        cluster = Cluster(binaries, tmp_path_factory.mktemp("cluster"))
        print(f"the cluster stands after {time.monotonic() - began:.0f} s")
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        weft("lab", "down")


@pytest.fixture
def cluster(made: Cluster) -> Iterator[Cluster]:
    """The cluster without pods, and without them afterwards."""
    yield made
    made.clear()


@pytest.fixture(scope="session")
def weft_image(binaries: Path) -> Path:
    """The archive of weft's own image."""
    if not IMAGE.exists():
        pytest.skip(f"there is no {IMAGE}: scripts/kubernetes-test builds it")
    return IMAGE
