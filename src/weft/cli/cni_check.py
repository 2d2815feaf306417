"""What `weft cni check` looks at: the agent's settings, its socket, the runtime's configuration, the cluster's."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weft.agent.settings import AgentSettings, KubernetesSettings, load
from weft.kubernetes.objects import NAMESPACES, PODS, Resource
from weft.kubernetes.settings import ClusterAccess
from weft.model.errors import Invalid, WeftError

CONNECT_TIMEOUT_S = 5.0
PLUGIN = "weft-cni"
CAPABILITY = "io.kubernetes.cri.pod-annotations"
Finding = tuple[bool, str]
"""Whether it is good, and what it is."""


def findings(config: Path, bin_dir: Path, conf_dir: Path, *, before_agent: bool, ask: bool) -> Iterator[Finding]:
    """Yield what is good and what is wrong on this node; `before_agent`: it need not run yet; `ask` the cluster."""
    settings: AgentSettings | None = None
    try:
        settings = load(config)
        yield True, f"{config}: the settings of node {settings.node}"
    except Invalid as error:
        yield False, error.message
    program = bin_dir / PLUGIN
    if os.access(program, os.X_OK) and program.is_file():
        yield True, f"{program} is there"
    else:
        yield False, f"{program} is no program: `weft cni install` writes it"
    yield from _configurations(conf_dir, None if settings is None else settings.cni_socket)
    if settings is not None:
        yield from _agent(settings, before_agent=before_agent)
        if settings.kubernetes is not None:
            yield from _cluster(settings.node, settings.kubernetes, ask=ask)


def _configurations(folder: Path, socket_path: str | None) -> Iterator[Finding]:
    """Look at what the runtime reads: of its files in order, the first is used."""
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in {".conflist", ".conf", ".json"})
    except OSError as error:
        yield False, f"{folder} cannot be read: {error.strerror}"
        return
    named = [(each, _ours(each)) for each in files]
    ours = [(path, found) for path, found in named if found is not None]
    if not ours:
        yield False, f"{folder} has no configuration with the plugin {PLUGIN}: `weft cni install` writes one"
        return
    path, plugin = ours[0]
    if files[0] != path:
        yield False, f"the runtime takes {files[0]}, which is before {path}: remove it, or name ours to be first"
    wrong = []
    if not (plugin.get("network") or plugin.get("networkLabels")):
        wrong.append("it names neither network nor networkLabels")
    if "/" in str(plugin.get("cluster", "")):
        wrong.append(f"its cluster '{plugin['cluster']}' has a /")
    if not plugin.get("capabilities", {}).get(CAPABILITY):
        wrong.append(f"its capabilities lack {CAPABILITY}: annotations are known by the API server alone")
    if socket_path is not None and plugin.get("socket", socket_path) != socket_path:
        wrong.append(f"its socket is {plugin['socket']}, the agent's cni_socket {socket_path}")
    yield (False, f"{path}: {'; '.join(wrong)}") if wrong else (True, f"{path} calls {PLUGIN}")


def _ours(path: Path) -> dict[str, Any] | None:
    """Return the part of a configuration that is weft's."""
    try:
        document = json.loads(path.read_text())
        plugins = document.get("plugins", [document])
        return next((each for each in plugins if each.get("type") == PLUGIN), None)
    except (OSError, ValueError, AttributeError):
        return None


def _agent(settings: AgentSettings, *, before_agent: bool) -> Iterator[Finding]:
    path = settings.cni_socket
    if path is None:
        yield False, 'the agent serves no containers: set cni_socket = "/run/weft/cni.sock" in its settings'
        return
    if before_agent:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(CONNECT_TIMEOUT_S)
            wire.connect(path)
    except OSError as error:
        yield False, f"the agent does not answer at {path}: {error.strerror or error}"
    else:
        yield True, f"the agent answers at {path}"


def _cluster(node: str, settings: KubernetesSettings, *, ask: bool) -> Iterator[Finding]:
    try:
        from weft.kubernetes.access import described  # noqa: PLC0415 - it loads a client of Kubernetes

        access = ClusterAccess(kubeconfig=settings.kubeconfig, context=settings.context)
        yield True, f"cluster: {described(access)}"
        if ask:
            yield True, asyncio.run(_asked(settings.node or node, access, labels=settings.labels))
    except ModuleNotFoundError as error:
        yield False, f"[kubernetes] needs {error.name}: install weft[kubernetes]"
    except WeftError as error:
        yield False, error.message


async def _asked(node: str, access: ClusterAccess, *, labels: bool) -> str:
    """Ask for what the agent will ask for, and say what came. Raises what the API server does."""
    from weft.kubernetes.api import KubernetesApi  # noqa: PLC0415 - it loads a client of Kubernetes

    api = KubernetesApi(access)
    here = f"spec.nodeName={node}"
    wanted: list[tuple[Resource, str | None]] = [(PODS, here), *([(NAMESPACES, None)] if labels else [])]
    count = 0
    try:
        for resource, selector in wanted:
            page = await api.page(resource, field_selector=selector)
            version = page.metadata.resource_version or ""
            async with api.watch(resource, resource_version=version, field_selector=selector):
                pass
            count += len(page.items or ()) if resource is PODS else 0
    finally:
        await api.close()
    return f"the API server lets itself be followed; it has {count} pods of node {node}"
