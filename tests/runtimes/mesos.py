"""The calls of a Mesos agent, imitated: there is no package of Mesos for this machine, so this is not the real one.

What its network/cni isolator does was read in its documentation (mesos.apache.org, "Container Network Interface") and
its source (cni.cpp, spec.proto): it calls ADD and DEL with COMMAND, CONTAINERID, PATH, IFNAME, NETNS, no CNI_ARGS; it
writes the task's NetworkInfo into ``args["org.apache.mesos"]``; its network configuration has no cniVersion; of the
result it reads ``ip4``, ``ip6`` and ``dns``, whose fields it knows by name and kind, and refuses those of other kinds.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.lab.namespaces import NETNS_DIR
from weft.lab.topology import namespace_of

IFNAME = "eth0"


class MesosAgent:
    """A Mesos agent on one node of the lab, with one network."""

    def __init__(self, node: str, plugin_dir: Path, network: Mapping[str, Any]) -> None:
        self._node = node
        self._plugin_dir = plugin_dir
        self._network = network

    def attach(self, container: str, netns: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Attach a task's container to the network; return what the agent reads of the result, as its NetworkInfo."""
        said = self._call("ADD", container, netns, labels)
        return network_info(json.loads(said))

    def detach(self, container: str, netns: str, labels: Mapping[str, str]) -> None:
        """Detach a task's container; what the plugin prints is not looked at."""
        self._call("DEL", container, netns, labels)

    def _call(self, command: str, container: str, netns: str, labels: Mapping[str, str]) -> str:
        listed = [{"key": key, "value": value} for key, value in labels.items()]
        info = {"name": self._network["name"], "labels": {"labels": listed}, "ip_addresses": [{}]}
        args = {**self._network.get("args", {}), "org.apache.mesos": {"network_info": info}}
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_PATH": str(self._plugin_dir),
            "CNI_IFNAME": IFNAME,
            "CNI_NETNS": netns,
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            ["nsenter", f"--net={NETNS_DIR / namespace_of(self._node)}", str(self._plugin_dir / self._network["type"])],
            input=json.dumps({**self._network, "args": args}),
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"the plugin failed: {done.stdout}{done.stderr}"
        return done.stdout


def network_info(result: Mapping[str, Any]) -> dict[str, Any]:
    """Read a result as spec.proto has it: a field that is known must be of its kind, one that is not is skipped."""
    read: dict[str, Any] = {}
    for family in ("ip4", "ip6"):
        if family in result:
            given = result[family]
            routes = [{"dst": _text(each, "dst"), "gw": _text(each, "gw")} for each in given.get("routes", [])]
            read[family] = {"ip": _text(given, "ip"), "gateway": _text(given, "gateway"), "routes": routes}
    assert read, f"neither ip4 nor ip6 in {result}: Mesos has no address for its task"
    return read


def _text(given: Mapping[str, Any], key: str) -> str:
    assert isinstance(given.get(key, ""), str), f"{key} is no text: {given}"
    return str(given.get(key, ""))
