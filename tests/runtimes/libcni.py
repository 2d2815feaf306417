"""The calls of a container runtime that uses libcni, made here: a conflist's plugins, in the order of that library.

ADD goes down the list, each plugin with the result of the one before; CHECK goes down, DEL goes up, both with the final
result of the ADD (DEL from 0.4.0 on); a capability's arguments go to the plugins that have it; GC and STATUS are of
1.1.0 (CNI specification, section 3). Real ones do the same in tests/e2e/test_containerd.py and test_podman.py; this one
speaks every version, and shows what each plugin said.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.lab.namespaces import NETNS_DIR
from weft.lab.topology import namespace_of

CALL_TIMEOUT_S = 60.0
IFNAME = "eth0"


class PluginError(Exception):
    """A plugin failed; `code` and the text are what it said."""

    def __init__(self, plugin: str, said: Mapping[str, Any]) -> None:
        super().__init__(f"{plugin}: {said.get('msg')} ({said.get('details', '')})")
        self.code = said.get("code")


class LibCni:
    """One conflist on one node of the lab. Plugins run in the node's namespace, as a runtime's do."""

    def __init__(self, node: str, bin_dirs: Sequence[Path], conflist: Mapping[str, Any]) -> None:
        self._node = node
        self._bin_dirs = bin_dirs
        self.conflist = conflist
        self._results: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(each) for each in self.conflist["cniVersion"].split("."))

    def add(self, container: str, netns: str, *, args: str = "", ifname: str = IFNAME, **given: Any) -> dict[str, Any]:
        """Add a container by every plugin; return the last one's result. `given` are the arguments of capabilities."""
        result: dict[str, Any] | None = None
        for plugin in self.conflist["plugins"]:
            conf = self._configuration(plugin, given, result)
            result = self.call("ADD", plugin, conf, container, netns, args, ifname)
            assert result is not None, f"{plugin['type']} printed nothing"
        assert result is not None
        self._results[container, ifname] = result
        return result

    def check(self, container: str, netns: str, *, args: str = "", ifname: str = IFNAME, **given: Any) -> None:
        """Check a container by every plugin."""
        for plugin in self.conflist["plugins"]:
            conf = self._configuration(plugin, given, self._results[container, ifname])
            assert self.call("CHECK", plugin, conf, container, netns, args, ifname) is None, "CHECK prints nothing"

    def delete(self, container: str, netns: str, *, args: str = "", ifname: str = IFNAME, **given: Any) -> None:
        """Delete a container by every plugin, from the last to the first."""
        known = self._results.get((container, ifname)) if self.version >= (0, 4, 0) else None
        for plugin in reversed(self.conflist["plugins"]):
            conf = self._configuration(plugin, given, known)
            assert self.call("DEL", plugin, conf, container, netns, args, ifname) is None, "DEL prints nothing"
        self._results.pop((container, ifname), None)

    def collect(self, *valid: tuple[str, str]) -> None:
        """Let every plugin take away what is of no container of these, each with its interface."""
        known = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
        for plugin in self.conflist["plugins"]:
            conf = self._configuration(plugin, {}, None) | {"cni.dev/valid-attachments": known}
            assert self.call("GC", plugin, conf) is None, "GC prints nothing"

    def status(self) -> None:
        """Ask every plugin whether it can add containers."""
        for plugin in self.conflist["plugins"]:
            assert self.call("STATUS", plugin, self._configuration(plugin, {}, None)) is None, "STATUS prints nothing"

    def call(  # noqa: PLR0917 - what the specification has, in its order
        self,
        command: str,
        plugin: Mapping[str, Any],
        conf: Mapping[str, Any],
        container: str = "",
        netns: str = "",
        args: str = "",
        ifname: str = "",
    ) -> dict[str, Any] | None:
        """Run one plugin; return what it printed. Raises PluginError if it says that it failed."""
        file = next(each / plugin["type"] for each in self._bin_dirs if (each / plugin["type"]).exists())
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": args,
            "CNI_PATH": ":".join(str(each) for each in self._bin_dirs),
        }
        done = subprocess.run(
            ["nsenter", f"--net={NETNS_DIR / namespace_of(self._node)}", str(file)],
            input=json.dumps(conf), env={key: value for key, value in environment.items() if value},
            capture_output=True, text=True, check=False, timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        printed = json.loads(done.stdout) if done.stdout.strip() else None
        if done.returncode:
            raise PluginError(plugin["type"], printed or {"msg": done.stderr})
        return printed

    def _configuration(
        self, plugin: Mapping[str, Any], given: Mapping[str, Any], result: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        conf = {**plugin, "name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"]}
        wanted = {key: value for key, value in given.items() if plugin.get("capabilities", {}).get(key)}
        if wanted:
            conf["runtimeConfig"] = wanted
        if result is not None:
            conf["prevResult"] = result
        return conf
