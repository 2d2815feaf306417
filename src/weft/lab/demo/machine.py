"""What can be seen of a lab on the machine it runs on: its namespaces, mounts, processes, links and qdiscs."""

import subprocess
from pathlib import Path

from weft.lab import namespaces, state

PROC = Path("/proc")


def traces() -> frozenset[str]:
    """Return what a lab may leave behind, as text; compared before and after, the difference is what it left."""
    return frozenset().union(_namespaces(), _mounts(), _processes(), _links(), _files())


def _namespaces() -> set[str]:
    return {f"namespace {name}" for name in namespaces.existing()}


def _mounts() -> set[str]:
    return {f"mount {line.split()[1]}" for line in Path("/proc/self/mounts").read_text().splitlines()}


def _processes() -> set[str]:
    """Processes that carry a lab's mark in their environment."""
    found = set()
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if f"{state.MARK}=".encode() in (entry / "environ").read_bytes():
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
