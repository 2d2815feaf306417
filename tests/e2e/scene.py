"""What a lab looked like in the moment a test failed: it is gone when somebody comes to look.

A step that fails to tell what it saw shall not hide what the others saw.
"""

import subprocess
from collections.abc import Iterator

from weft.lab import reach
from weft.lab.state import LabState

LINES = 150
"""Of each log, the last ones."""
TIMEOUT_S = 10.0

CABLES = "ls /sys/class/net | grep ^weft- | while read each; do echo $each; tc -s filter show dev $each ingress; done"
NODE = (
    "ovs-ofctl -O OpenFlow14 dump-flows br-int",
    "ovs-ofctl -O OpenFlow14 dump-flows br-bond",
    "ovs-vsctl --columns=name,ofport,error,external_ids find Interface type=internal",
    "ovs-appctl dpctl/dump-flows -m",
    "ip -s -o link",
    CABLES,
)
SWITCH = ("bridge fdb", "ip neigh")


def describe(lab: LabState) -> Iterator[tuple[str, str]]:
    """Yield what was looked at, and what was seen."""
    for name in lab.ovs_nodes:
        for command in NODE:
            yield f"{name}: {command}", _said(lab, name, command)
    for name in lab.switches:
        for command in SWITCH:
            yield f"{name}: {command}", _said(lab, name, command)
    for process in lab.processes.values():
        if process.log.exists():
            lines = process.log.read_text(errors="replace").splitlines()
            yield f"the last lines of {process.name}", "\n".join(lines[-LINES:])


def _said(lab: LabState, name: str, command: str) -> str:
    argv = reach.argv_in(lab, name, ("sh", "-c", command))
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr
