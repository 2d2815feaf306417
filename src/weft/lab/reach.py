"""How a command is run inside a switch, a node or an instance of the lab."""

import os
import shlex
from collections.abc import Sequence

from weft.lab import ovs, switches
from weft.lab.processes import PATH
from weft.lab.state import LabState
from weft.lab.topology import namespace_of
from weft.model.errors import NotFound


def argv_in(lab: LabState, name: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs a command where `name` is: on a switch, a node, or in an instance.

    On a switch that is its own root folder and tools, such as vtysh; on an OVS node, Open vSwitch's tools speak to
    that node's daemons. Raise NotFound if the lab has nothing of that name.
    """
    if name in lab.devices:
        return switches.argv_in(lab, name, command)
    if name in lab.ovs_nodes:
        own = [f"{key}={value}" for key, value in ovs.environment(name).items()]
        return ("ip", "netns", "exec", namespace_of(name), "env", *own, *command)
    if name in lab.nics:
        return ("ip", "netns", "exec", namespace_of(name), *command)
    for instance in lab.instances.values():
        if name in {instance.name, instance.port_id}:
            return ("ip", "netns", "exec", instance.namespace, *command)
    known = ", ".join([*lab.devices, *lab.nics, *sorted(lab.instances)])
    raise NotFound(f"the lab has no switch, node or instance '{name}' (it has {known})")


def become(argv: Sequence[str]) -> None:
    """Replace this program by a command; returns only by an error."""
    found = os.environ.get("PATH") or PATH
    try:
        os.execvpe(argv[0], list(argv), {**os.environ, "PATH": f"{found}:{PATH}"})
    except OSError as error:
        raise NotFound(f"cannot run `{shlex.join(argv)}`: {error.strerror}") from None
