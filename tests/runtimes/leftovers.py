"""What container runtimes leave behind when they are ended in the middle: mounts, cgroups, libcni's notes."""

import shutil
import subprocess
import time
from collections.abc import Iterable
from errno import EBUSY
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NOTES = Path("/var/lib/cni/results")
"""Where libcni keeps what was added, whoever calls it; a container that is deleted is not there any more."""

EMPTY_TIMEOUT_S = 5.0
POLL_S = 0.02


def remove_folder(folder: Path) -> None:
    """Unmount whatever is below a runtime's folder, and remove it; `weft lab down` may have been first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def forget(container_ids: Iterable[str]) -> None:
    """Remove libcni's notes of containers."""
    for each in container_ids:
        for file in NOTES.glob(f"*-{each}-*"):
            file.unlink()


def remove_cgroup(name: str) -> None:
    """Remove a cgroup, and those below it, from all controllers, as soon as the processes in them have ended."""
    deadline = time.monotonic() + EMPTY_TIMEOUT_S
    for controller in CGROUPS.iterdir():
        folder = controller / name.lstrip("/")
        if folder.is_dir():
            below = sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True)
            for each in (*below, folder):
                _remove(each, deadline)


def _remove(cgroup: Path, deadline: float) -> None:
    while True:
        try:
            cgroup.rmdir()
        except OSError as error:
            if error.errno != EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return
