"""The rights and commands of the manifests: what agent and server do needs these, and no more."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from core_world import PROJECT, world
from kubernetes_server import FakeKubernetes, Rule, serving

from weft.agent.cni.pods import Pods
from weft.agent.cni.request import Call
from weft.cli.main import weft
from weft.controller.orchestrator import WorkloadObjects
from weft.intent.workloads import attach, release
from weft.kubernetes.api import KubernetesApi
from weft.kubernetes.settings import ClusterAccess, ClusterSettings
from weft.model.ids import NodeName
from weft.protocol.workload import WorkloadRelease, WorkloadRequest

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def rules(file: str) -> set[Rule]:
    [role] = [each for each in documents(file) if each["kind"] == "ClusterRole"]
    return {
        Rule(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(kubernetes: FakeKubernetes) -> set[Rule]:
    return {
        Rule(each.kind.group_version.rpartition("/")[0], each.kind.plural, each.verb) for each in kubernetes.requests
    }


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    async with serving(folder) as made:
        made.put("namespaces", "kube-system", "", uid="c")
        yield made


async def test_the_agents_role_is_what_the_agent_needs(kubernetes: FakeKubernetes) -> None:
    kubernetes.rules = rules("rbac.yaml")
    kubernetes.put("pods", "elsewhere", node="node2", uid="u1")
    pods = Pods(KubernetesApi(ClusterAccess(kubeconfig=str(kubernetes.kubeconfig()))), "node1", wait_s=0.0)
    running = asyncio.create_task(pods.run())
    await kubernetes.until(lambda: kubernetes.watches == 2)
    args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=elsewhere;K8S_POD_UID=u1"
    assert await pods.facts(Call(command="ADD", container_id="a", args=args), {}) is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert used(kubernetes) == kubernetes.rules


async def test_the_servers_role_is_what_the_server_needs(kubernetes: FakeKubernetes, tmp_path: Path) -> None:
    kubernetes.rules = rules("server-rbac.yaml")
    cluster = ClusterSettings(name="prod", kubeconfig=str(kubernetes.kubeconfig()))
    async with world(tmp_path) as dc:
        await dc.subnet(await dc.network("pods"), "10.0.0.0/24")
        asked = WorkloadRequest(name="prod/shop/db-0", holder="a", network="pods", release="with-object")
        await dc.store.transact(lambda tx: attach(tx, NodeName("node1"), asked, project_id=PROJECT))
        gone = WorkloadRelease(name="prod/shop/db-0", holder="a")
        await dc.store.transact(lambda tx: release(tx, NodeName("node1"), gone, project_id=PROJECT))
        api = KubernetesApi(cluster)
        await WorkloadObjects(dc.store, cluster, api).look()
        await api.close()
    assert used(kubernetes) == kubernetes.rules
    # A role may name objects only for verbs that name one.
    named = [
        rule for each in documents("server-rbac.yaml") for rule in each.get("rules", []) if "resourceNames" in rule
    ]
    assert [rule["verbs"] for rule in named] == [["get"]]


# --- the commands of the DaemonSet ---


def command(name: str, at: Path) -> list[str]:
    """Return what a container of the DaemonSet runs, with the ConfigMap's values, in a folder instead of the node."""
    [found] = documents("daemonset.yaml")
    spec = found["spec"]["template"]["spec"]
    [run] = [each for each in [*spec["initContainers"], *spec["containers"]] if each["name"] == name]
    words = [*run["command"]]
    for key, value in documents("configmap.yaml")[0]["data"].items():
        words = [word.replace(f"$({key})", value) for word in words]
    assert not any("$(" in word for word in words)
    return [word.replace("=/", f"={at}/") for word in words]


def run(words: list[str]) -> Result:
    assert words[0] == "weft"
    return CliRunner().invoke(weft, words[1:])


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Path]:
    """Make a node's /etc/weft in a folder, and return the folder."""

    def make(**settings: Any) -> Path:
        lines = ['node = "node1"', 'server = "http://127.0.0.1:9696"', 'nics = ["eth0"]']
        lines += [f'cni_socket = "{tmp_path / "cni.sock"}"'] if settings.pop("serves", True) else []
        tables = [f"[kubernetes]\n{settings.pop('kubernetes')}"] if "kubernetes" in settings else []
        (tmp_path / "etc" / "weft").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / "weft" / "agent.toml").write_text("\n".join([*lines, *tables]))
        return tmp_path

    return make


def checked(at: Path, *more: str) -> Result:
    words = [each for each in command("check", at) if each != "--before-agent"]
    return run([*words, f"--config={at}/etc/weft/agent.toml", *more])


def test_the_init_containers_install_and_check_what_the_runtime_calls(node: Callable[..., Path]) -> None:
    at = node()
    installed = run(command("install", at))
    assert installed.exit_code == 0, installed.output
    conflist = json.loads((at / "host/etc/cni/net.d/10-weft.conflist").read_text())
    [plugin] = conflist["plugins"]
    assert (plugin["cluster"], plugin["network"], conflist["cniVersion"]) == ("prod", "pods", "1.0.0")
    # Its own socket, instead of /run/weft/cni.sock.
    plugin["socket"] = str(at / "cni.sock")
    (at / "host/etc/cni/net.d/10-weft.conflist").write_text(json.dumps(conflist))
    said = run([*command("check", at), f"--config={at}/etc/weft/agent.toml"])
    assert said.exit_code == 0, said.output


def test_what_is_wrong_on_a_node_is_said(node: Callable[..., Path]) -> None:
    at = node()
    said = checked(at)
    assert said.exit_code == 1
    assert "weft-cni is no program: `weft cni install` writes it" in said.output
    assert f"{at}/host/etc/cni/net.d cannot be read" in said.output
    assert f"the agent does not answer at {at}/cni.sock: No such file" in said.output
    assert run(command("install", at)).exit_code == 0
    (at / "host/etc/cni/net.d/05-bridge.conf").write_text('{"cniVersion": "0.3.1", "type": "bridge"}')
    said = checked(at)
    assert "the runtime takes" in said.output
    assert "05-bridge.conf, which is before" in said.output
    assert f"its socket is /run/weft/cni.sock, the agent's cni_socket {at}/cni.sock" in said.output


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ({"type": "weft-cni"}, "names neither network nor networkLabels"),
        ({"type": "weft-cni", "network": "a", "cluster": "a/b"}, "cluster 'a/b' has a /"),
        ({"type": "weft-cni", "network": "a"}, "capabilities lack io.kubernetes.cri.pod-annotations"),
        ({"type": "bridge"}, "has no configuration with the plugin weft-cni"),
    ],
)
def test_a_configuration_that_would_not_do_is_told(
    node: Callable[..., Path], plugin: dict[str, Any], said: str
) -> None:
    at = node()
    assert run(command("install", at)).exit_code == 0
    conflist = at / "host/etc/cni/net.d/10-weft.conflist"
    conflist.write_text(json.dumps({"cniVersion": "1.0.0", "name": "weft", "plugins": [plugin]}))
    assert said in checked(at).output


async def test_the_cluster_is_asked_for_what_the_agent_will_ask_for(
    kubernetes: FakeKubernetes, node: Callable[..., Path]
) -> None:
    kubernetes.put("pods", "here", node="kube1")
    at = node(kubernetes=f'kubeconfig = "{kubernetes.kubeconfig()}"\nnode = "kube1"')
    said = await asyncio.to_thread(checked, at, "--ask")
    assert f"ok     cluster: https://127.0.0.1:{kubernetes.port}, by a token" in said.output
    assert "ok     the API server lets itself be followed; it has 1 pods of node kube1" in said.output
    assert used(kubernetes) == rules("rbac.yaml") - {Rule("", "pods", "get"), Rule("", "namespaces", "get")}
    kubernetes.rules = {Rule("", "pods", "list")}
    said = await asyncio.to_thread(checked, at, "--ask")
    assert "wrong  the API server refuses (403: pods is forbidden" in said.output
    assert said.exit_code == 1


def test_a_kubeconfig_that_is_not_there_is_told(node: Callable[..., Path]) -> None:
    said = checked(node(kubernetes='kubeconfig = "/nowhere"'))
    assert "wrong  /nowhere cannot be read" in said.output
    said = checked(node(serves=False))
    assert "the agent serves no containers" in said.output


def test_a_cluster_with_a_slash_is_not_installed(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        weft, ["cni", "install", "--network", "a", "--cluster", "a/b", "--bin-dir", str(tmp_path)]
    )
    assert said.exit_code != 0
    assert "has a /" in said.output + str(said.exception)


def test_the_liveness_probe_tells_whether_the_agent_takes_calls(tmp_path: Path) -> None:
    [found] = documents("daemonset.yaml")
    [agent] = found["spec"]["template"]["spec"]["containers"]
    words = agent["livenessProbe"]["exec"]["command"]
    path = tmp_path / "cni.sock"
    words = [word.replace("/run/weft/cni.sock", str(path)) for word in words]
    assert subprocess.run(words, check=False, capture_output=True).returncode == 1
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert subprocess.run(words, check=False).returncode == 0


def test_the_readiness_probe_asks_the_plugin(tmp_path: Path) -> None:
    [found] = documents("daemonset.yaml")
    [agent] = found["spec"]["template"]["spec"]["containers"]
    shell, flag, line = agent["readinessProbe"]["exec"]["command"]
    assert run(command("install", tmp_path)).exit_code == 0
    line = line.replace("/host/", f"{tmp_path}/host/").replace('"type"', f'"socket":"{tmp_path}/none","type"')
    done = subprocess.run([shell, flag, line], check=False, capture_output=True, text=True, env={"PATH": os.defpath})
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 50)
