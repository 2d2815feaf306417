"""A container runtime of our own on the lab's nodes, and what tests ask of its containers."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from running_lab import Lab, weft

from weft.lab.programs import cni_socket
from weft.lab.topology import namespace_of

VERSION = "1.1.0"


class Runtime:
    """A container runtime on one node: it makes namespaces, and calls the plugin as the specification says."""

    def __init__(self, node: str, folder: Path, network: str = "pods") -> None:
        self._node = node
        own = folder / node
        weft("cni", "install", "--bin-dir", str(own), "--conf-dir", str(own), "--network", network, "--cluster", "c1",
             "--socket", str(cni_socket(node)), "--cni-version", VERSION)  # fmt: skip
        self._plugin = own / "weft-cni"
        self._list = json.loads((own / "10-weft.conflist").read_text())

    def call(self, command: str, container: str, pod: str = "", *, netns: str = "", **conf: Any) -> tuple[int, Any]:
        """Call the plugin; return its status and what it printed."""
        text, environment = self._said(command, container, pod, netns, conf)
        done = subprocess.run(
            self._words(), input=text, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def call_and_kill(self, command: str, container: str, pod: str, *, netns: str, after_s: float) -> bool:
        """Call the plugin and kill it (-9) after a time; tell whether it was still at work."""
        text, environment = self._said(command, container, pod, netns, {})
        process = subprocess.Popen(
            self._words(), env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        with process:
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.close()
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                return True
        return False

    def _words(self) -> list[str]:
        return ["ip", "netns", "exec", namespace_of(self._node), str(self._plugin)]

    def _said(
        self, command: str, container: str, pod: str, netns: str, conf: dict[str, Any]
    ) -> tuple[str, dict[str, str]]:
        plugin = {**self._list["plugins"][0], "cniVersion": VERSION, "name": self._list["name"], **conf}
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{netns}" if netns else "",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}" if pod else "",
            "CNI_PATH": str(self._plugin.parent),
            "PATH": os.environ["PATH"],
        }
        return json.dumps(plugin), environment

    def add(self, container: str, pod: str, netns: str, **conf: Any) -> dict[str, Any]:
        status, said = self.call("ADD", container, pod, netns=netns, **conf)
        assert status == 0, said
        return dict(said)


def address(result: dict[str, Any]) -> str:
    return str(result["ips"][0]["address"].partition("/")[0])


def answers(netns: str, target: str) -> bool:
    words = ["ip", "netns", "exec", netns, "ping", "-c", "1", "-W", "1", target]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def pairs(lab: Lab, node: str) -> set[str]:
    """The host's ends of containers' pairs."""
    lines = lab.run(node, "ip", "-br", "link").splitlines()
    return {line.split("@")[0].split()[0] for line in lines if line.startswith("weft-v")}
