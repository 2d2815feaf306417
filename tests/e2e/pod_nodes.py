"""Two nodes of the lab that run pods: a containerd each, weft's plugin in its conflist, and the pods' network."""

import json
import subprocess
from pathlib import Path
from typing import Any

from running_lab import Lab, until, weft
from tests.runtimes.containerd import PATH, Containerd
from tests.runtimes.images import write_image

from weft.lab.programs import cni_socket
from weft.lab.state import LAB_DIR, MARK

NODES = ("node1", "node2")
NETWORK = "pods"
CIDR = "10.88.0.0/24"
CLUSTER = "c1"
CABLE_PREFIX = "weft-c"
CNI_VERSION = "1.0.0"
"""The newest that containerd 1.6 speaks."""


def start(lab: Lab, folder: Path) -> tuple[Containerd, ...]:
    """Start a containerd on each of the two nodes."""
    image = folder / "busybox.tar"
    write_image(image, {MARK: lab.state.id})
    made = tuple(Containerd(node, LAB_DIR / node / "containerd", lab.state.id) for node in NODES)
    for each in made:
        each.prepare()
        install(each)
        each.start()
        each.import_image(image)
    return made


def install(node: Containerd, *words: str, **more: str) -> None:
    """Install plugin and conflist as on any node; `words` are further options."""
    options = {"network": NETWORK, "cluster": CLUSTER, "socket": str(cni_socket(node.node)), "cni-version": CNI_VERSION}
    given = [word for key, value in (options | more).items() for word in (f"--{key}", value)]
    weft("cni", "install", "--bin-dir", str(node.bin_dir), "--conf-dir", str(node.conf_dir), *given, *words)


def host_ends(lab: Lab, node: str) -> set[str]:
    """Return a node's links, but for cables, which wait for the next container."""
    found = lab.json(node, "ip", "-j", "link")
    assert isinstance(found, list)
    return {each["ifname"] for each in found if not each["ifname"].startswith(CABLE_PREFIX)}


class Pods:
    """The nodes, and the network that their pods are in."""

    def __init__(self, lab: Lab, nodes: tuple[Containerd, ...]) -> None:
        self._lab = lab
        self.nodes = nodes
        self.network = str(lab.client.networks.create({"name": NETWORK})["id"])
        lab.client.subnets.create({"network_id": self.network, "cidr": CIDR, "ip_version": 4})
        self.devices_before = self.devices()

    def devices(self) -> dict[str, set[str]]:
        """Return each node's links, but for cables."""
        return {node: host_ends(self._lab, node) for node in NODES}

    def with_conflist(
        self, node: Containerd, *words: str, chained: tuple[dict[str, Any], ...] = (), **more: str
    ) -> Containerd:
        """Install another conflist, and wait until the runtime has read it.

        Of `chained`, a plugin that is in the list gets the keys; another stands after all.
        """
        install(node, *words, **more)
        file = node.conf_dir / "10-weft.conflist"
        document = json.loads(file.read_text())
        for each in chained:
            known = next((plugin for plugin in document["plugins"] if plugin["type"] == each["type"]), None)
            if known is None:
                document["plugins"].append(each)
            else:
                known.update(each)
        file.write_text(json.dumps(document))
        until(lambda: node.conflist() == file.read_text(), "containerd has read its conflist")
        return node

    def until_agent_answers(self, node: Containerd) -> None:
        """Wait until a node's agent serves the plugin."""
        conf = json.loads((node.conf_dir / "10-weft.conflist").read_text())
        said = json.dumps({**conf["plugins"][0], "name": conf["name"], "cniVersion": "1.1.0"})
        environment = {"PATH": PATH, "CNI_COMMAND": "STATUS"}

        def answers() -> bool:
            words = [str(node.bin_dir / "weft-cni")]
            done = subprocess.run(words, input=said, env=environment, capture_output=True, text=True, check=False)
            return done.returncode == 0

        until(answers, f"the agent of {node.node} answers")

    def clear(self) -> None:
        """Remove all pods, and the network with its ports."""
        for node in self.nodes:
            for each in node.sandboxes():
                node.remove_sandbox(each)
        self._lab.delete_network(self.network)
