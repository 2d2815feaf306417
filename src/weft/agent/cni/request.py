"""What a container runtime says when it calls the plugin: CNI 0.2.0 to 1.1.0, read and checked. Pure.

Environment and configuration: CNI specification, sections 2 and 3. What Kubernetes and Mesos add is read by
weft.agent.cni.naming.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from weft.agent.cni.errors import CniError, Code

VERSIONS = ("0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS"})
MAX_INTERFACE_BYTES = 15
_CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the plugin hands to the agent: CNI's command, its environment, and the configuration as text."""

    command: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    stdin: str = ""


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What of a network configuration is weft's; other plugins' keys and the specification's own are not looked at."""

    version: str
    name: str
    cluster: str = ""
    """What the names of its workloads begin with; the network's name if left out."""
    project: str | None = None
    network: str | None = None
    network_labels: Mapping[str, str] = {}
    stable_names: bool | None = None
    """Whether workloads keep their ports; None: those of StatefulSets do, and who asks for it by annotation."""
    chained: tuple[str, ...] = ()
    """The plugins behind this one in the list that need something of it: `bandwidth`, `portmap`."""
    node_path: bool = False
    """Whether the node itself reaches the container, as a kubelet's probes do; `portmap` wants that, too."""
    valid: tuple[tuple[str, str], ...] = ()
    """For GC: container and interface of what is still there."""


def configuration(call: Call) -> tuple[Configuration, Mapping[str, Any]]:
    """Return what a call's configuration says, and all of it. Raises CniError for what is no configuration."""
    try:
        document = json.loads(call.stdin)
    except (ValueError, RecursionError) as error:
        raise CniError(Code.UNDECODABLE, "the network configuration is no JSON", str(error)) from None
    if not isinstance(document, dict):
        raise CniError(Code.INVALID_CONFIGURATION, "the network configuration is no object")
    version = document.get("cniVersion", "0.2.0")
    if version not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion {version!r} is not known here", f"known: {known}")
    labels = document.get("networkLabels", {})
    if not isinstance(labels, dict) or not all(isinstance(each, str) for pair in labels.items() for each in pair):
        raise CniError(Code.INVALID_CONFIGURATION, "networkLabels is no object of texts")
    for key in ("name", "cluster", "project", "network"):
        if key in document and not isinstance(document[key], str):
            raise CniError(Code.INVALID_CONFIGURATION, f"{key} is no text")
    stable_names = _truth(document, "stableNames")
    found = Configuration(
        version=version,
        name=document.get("name", ""),
        cluster=document.get("cluster", ""),
        project=document.get("project"),
        network=document.get("network"),
        network_labels=labels,
        stable_names=stable_names,
        chained=_chained(document),
        node_path=bool(_truth(document, "nodePath")) or "portmap" in _chained(document),
        valid=_valid(document) if call.command == "GC" else (),
    )
    return found, document


def check(call: Call) -> None:
    """Raise CniError for an environment that the command cannot be carried out with."""
    if call.command not in COMMANDS:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND is {call.command!r}", f"known: {sorted(COMMANDS)}")
    if call.command in {"GC", "STATUS"}:
        return
    if not _CONTAINER_ID.fullmatch(call.container_id):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_CONTAINERID is {call.container_id!r}")
    name = call.ifname
    if not 0 < len(name.encode()) <= MAX_INTERFACE_BYTES or name in {".", ".."} or re.search(r"[\s/:]", name):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_IFNAME {name!r} is no interface name")
    if call.command in {"ADD", "CHECK"} and not call.netns.startswith("/"):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS is {call.netns!r}, not the path of a namespace")


def _truth(document: Mapping[str, Any], key: str) -> bool | None:
    given = document.get(key)
    if given is not None and not isinstance(given, bool):
        raise CniError(Code.INVALID_CONFIGURATION, f"{key} is neither true nor false")
    return given


def _chained(document: Mapping[str, Any]) -> tuple[str, ...]:
    given = document.get("chained", [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise CniError(Code.INVALID_CONFIGURATION, "chained is no list of plugins' names", 'such as ["portmap"]')
    return tuple(given)


def _valid(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    given = document.get("cni.dev/valid-attachments", document.get("cni.dev/attachments", []))
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise CniError(Code.INVALID_CONFIGURATION, "cni.dev/valid-attachments is no list of attachments")
    return tuple((str(each.get("containerID", "")), str(each.get("ifname", ""))) for each in given)
