"""What can be seen of a lab on its machine: namespaces, mounts, processes, files, and the machine's own links."""

import subprocess
from pathlib import Path

from weft.lab import namespaces, state
from weft.lab.topology import PREFIX

PROC = Path("/proc")


def traces(lab_id: str | None = None) -> frozenset[str]:
    """Return what a lab may leave behind, as text; compared before and after, the difference is what it left.

    `lab_id` names the lab whose processes are looked for. What else there is on the machine is not looked at: it may
    come and go meanwhile.
    """
    processes = _processes(lab_id) if lab_id else set()
    return frozenset().union(_namespaces(), _mounts(), processes, _links(), _files())


def _namespaces() -> set[str]:
    return {f"namespace {name}" for name in namespaces.existing() if name.startswith(PREFIX)}


def _mounts() -> set[str]:
    mounts = {line.split()[1] for line in state.MOUNTS.read_text().splitlines()}
    places = (f"{state.LAB_DIR}/", f"{namespaces.NETNS_DIR}/{PREFIX}")
    return {f"mount {mount}" for mount in mounts if mount.startswith(places)}


def _processes(lab_id: str) -> set[str]:
    """Processes that carry the lab's mark in their environment."""
    mark = f"{state.MARK}={lab_id}".encode()
    found = set()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if mark in (entry / "environ").read_bytes():
                found.add(f"process {entry.name} ({(entry / 'comm').read_text().strip()})")
        except OSError:  # it ended while it was looked at
            continue
    return found


def _links() -> set[str]:
    """Links and qdiscs of the machine's own namespace."""
    links = {f"link {line.split()[1]}" for line in _lines("ip", "-o", "link")}
    return links | {f"qdisc {line}" for line in _lines("tc", "qdisc")}


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _files() -> set[str]:
    return {f"file {path}" for path in (state.CLIENT_FILE, state.LAB_DIR) if path.exists()}
