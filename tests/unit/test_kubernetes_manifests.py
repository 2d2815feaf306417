"""The manifests under deploy/kubernetes: valid for the API of every version, and true of what weft is.

Kubernetes 1.20's schemas stand beside this (kubernetes/1.20.json: what the API's OpenAPI document of v1.20.0 says of
the kinds used here, without its descriptions); those of later versions come with kubernetes-validate.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate import utils as kubernetes_validate

from weft.agent.settings import AgentSettings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OLDEST = json.loads((Path(__file__).parent / "kubernetes" / "1.20.json").read_text())
VERSIONS = kubernetes_validate.all_versions()
GROUPS = {
    "v1": "io.k8s.api.core.v1",
    "apps/v1": "io.k8s.api.apps.v1",
    "rbac.authorization.k8s.io/v1": "io.k8s.api.rbac.v1",
}
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())


NODE_FILES = ("node/token.yaml", "node/weft-agent.yaml")
"""What is applied, or put on each node, where the agent is no DaemonSet."""


def manifests(names: Iterable[str] = KUSTOMIZATION["resources"]) -> list[dict[str, Any]]:
    return [each for name in names for each in yaml.safe_load_all((FOLDER / name).read_text())]


def one(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = one("DaemonSet", "weft-agent")["spec"]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    [found] = [each for each in [*pod()["initContainers"], *pod()["containers"]] if each["name"] == name]
    return found


def validate_oldest(manifest: dict[str, Any]) -> None:
    name = f"{GROUPS[manifest['apiVersion']]}.{manifest['kind']}"
    jsonschema.validate(manifest, {**OLDEST, "$ref": f"#/definitions/{name}"})


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


EVERY = [*manifests(), *manifests(NODE_FILES)]


@pytest.mark.parametrize("manifest", EVERY, ids=named)
def test_kubernetes_1_20_takes_it(manifest: dict[str, Any]) -> None:
    validate_oldest(manifest)


@pytest.mark.parametrize("manifest", EVERY, ids=named)
def test_later_versions_take_it(manifest: dict[str, Any]) -> None:
    for version in (VERSIONS[0], VERSIONS[-1]):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "template", "spec", "hostNetwrk"), True),
        (("spec", "template", "spec", "containers"), {}),
        (("spec", "template", "spec", "dnsPolicy"), 7),
        (("spec", "selector"), []),
    ],
)
def test_the_schemas_refuse_what_is_wrong(path: tuple[str, ...], value: object) -> None:
    wrong = one("DaemonSet", "weft-agent")
    within = wrong
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate_oldest(wrong)
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == sorted(
        each.name for each in FOLDER.glob("*.yaml") if each.name != "kustomization.yaml"
    )


def test_what_refers_to_another_finds_it() -> None:
    there = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests()}
    for binding in (each for each in manifests() if each["kind"] == "ClusterRoleBinding"):
        assert ("ClusterRole", None, binding["roleRef"]["name"]) in there
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["namespace"], subject["name"]) in there
    assert ("ServiceAccount", "weft-system", pod()["serviceAccountName"]) in there
    secret = one("Secret", "weft-server")
    owner = secret["metadata"]["annotations"]["kubernetes.io/service-account.name"]
    assert ("ServiceAccount", "weft-system", owner) in there
    template = one("DaemonSet", "weft-agent")["spec"]
    assert template["selector"]["matchLabels"] == template["template"]["metadata"]["labels"]
    for each in [*pod()["initContainers"], *pod()["containers"]]:
        for source in each.get("envFrom", []):
            assert ("ConfigMap", "weft-system", source["configMapRef"]["name"]) in there
        volumes = {volume["name"] for volume in pod()["volumes"]}
        assert {mount["name"] for mount in each["volumeMounts"]} <= volumes
        assert each["image"] in {image["name"] for image in KUSTOMIZATION["images"]}


def test_what_is_the_nodes_is_mounted_where_the_agent_looks() -> None:
    defaults = AgentSettings(node="n", server="s", nics=("a",))
    mounts = {each["mountPath"]: each for each in container("agent")["volumeMounts"]}
    hosts = {each["name"]: each["hostPath"]["path"] for each in pod()["volumes"] if "hostPath" in each}
    for path in (defaults.ovs.run_dir, "/run/weft", "/run/netns", "/var/run/netns", "/etc/weft"):
        assert hosts[mounts[path]["name"]] == path, "paths that others say to the agent must mean the same in it"
    for path in ("/run/netns", "/var/run/netns"):
        assert mounts[path]["mountPropagation"] == "HostToContainer"
    assert pod()["hostNetwork"] is True


def test_the_static_pod_is_what_the_daemonset_runs() -> None:
    [static] = manifests(["node/weft-agent.yaml"])
    [image] = KUSTOMIZATION["images"]
    settings = one("ConfigMap", "weft")["data"]
    wanted = json.loads(json.dumps(pod()))
    for key in ("serviceAccountName", "nodeSelector", "tolerations"):  # a static pod has no account and is on its node
        del wanted[key]
    for each in [*wanted["initContainers"], *wanted["containers"]]:
        each["image"] = f"{image['newName']}:{image['newTag']}"
        if each.pop("envFrom", None):  # nor does it read what is in the cluster
            for name, value in settings.items():
                each["command"] = [word.replace(f"$({name})", value) for word in each["command"]]
    assert static["spec"] == wanted
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*")} == set(NODE_FILES)


def test_what_reads_a_kubeconfig_can_write_the_certificates_that_stand_in_it() -> None:
    writable = {each["name"] for each in pod()["volumes"] if "emptyDir" in each}
    for each in (container("check"), container("agent")):
        scratch = {mount["mountPath"] for mount in each["volumeMounts"] if mount["name"] in writable}
        assert "/tmp" in scratch or not each["securityContext"].get("readOnlyRootFilesystem")
