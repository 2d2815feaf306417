"""What container runtimes say, and what they are answered, in every version of the specification."""

import json
from typing import Any

import pytest

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.naming import naming
from weft.agent.cni.request import VERSIONS, Call, check, configuration
from weft.agent.cni.result import failure, result
from weft.protocol.node import AddressDesired
from weft.protocol.workload import Workload

WORKLOAD = Workload(
    port_id="p1",
    name="c1/default/db-0",
    holder="abc",
    project_id="default",
    epoch=1,
    state="ACTIVE",
    mac="fa:16:3e:00:00:01",
    mtu_bytes=1450,
    addresses=(
        AddressDesired(address="10.0.0.5", prefixlen=24, gateway="10.0.0.1"),
        AddressDesired(address="2001:db8::5", prefixlen=64, gateway="2001:db8::1"),
    ),
)


def call(command: str = "ADD", *, args: str = "", ifname: str = "eth0", **conf: Any) -> Call:
    document = {"cniVersion": "1.0.0", "name": "pods", "type": "weft-cni", "network": "web", **conf}
    stdin = json.dumps(document)
    return Call(command=command, container_id="abc", netns="/run/netns/x", ifname=ifname, args=args, stdin=stdin)


def named(made: Call) -> tuple[str, bool]:
    found = naming(made, *configuration(made))
    return found.name, found.ephemeral


POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME="


@pytest.mark.parametrize(
    ("made", "name", "ephemeral"),
    [
        (call(args=POD + "db-0", cluster="c1"), "c1/shop/db-0", False),
        (call(args=POD + "db-12"), "pods/shop/db-12", False),
        (call(args=POD + "web-7c9d8f6b5-x2x4z"), "pods/shop/web-7c9d8f6b5-x2x4z", True),
        (call(args=POD + "agent-24567"), "pods/shop/agent-24567", True),
        (call(args=POD + "db-007"), "pods/shop/db-007", True),
        (call(args=POD + "web-x2x4z", stableNames=True), "pods/shop/web-x2x4z", False),
        (call(args=POD + "db-0", stableNames=False), "pods/shop/db-0", True),
        (call(args=POD + "db-0", ifname="net1"), "pods/shop/db-0/net1", False),
        (call(), "pods/abc", True),
        (call(stableNames=True), "pods/abc", True),
    ],
)
def test_a_containers_name_is_its_workloads(made: Call, name: str, ephemeral: bool) -> None:
    assert named(made) == (name, ephemeral)


def test_annotations_and_mesos_labels_say_more() -> None:
    annotations = {
        "weft.dev/port-name": "the-db",
        "weft.dev/network-labels": "env=prod,tier=db",
        "weft.dev/fixed-ip": "10.0.0.9",
    }
    pod = call(args=POD + "web-x2x4z", runtimeConfig={"io.kubernetes.cri.pod-annotations": annotations})
    found = naming(pod, *configuration(pod))
    assert (found.name, found.ephemeral, found.address) == ("the-db", False, "10.0.0.9")
    assert (found.network, found.network_labels) == (None, {"env": "prod", "tier": "db"})
    labels = {"labels": [{"key": "weft.dev/port-name", "value": "task-7"}]}
    task = call(cniVersion="0.2.0", args_=None, args=None)
    document = json.loads(task.stdin) | {"args": {"org.apache.mesos": {"network_info": {"labels": labels}}}}
    task = Call(command="ADD", container_id="abc", netns="/n", ifname="eth0", stdin=json.dumps(document))
    assert named(task) == ("task-7", False)


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        ("", Code.UNDECODABLE),
        ("{", Code.UNDECODABLE),
        ("[]", Code.INVALID_CONFIGURATION),
        ('{"cniVersion": "0.1.0"}', Code.INCOMPATIBLE_VERSION),
        ('{"cniVersion": 1}', Code.INCOMPATIBLE_VERSION),
        ('{"cniVersion": "1.0.0", "network": 7}', Code.INVALID_CONFIGURATION),
        ('{"cniVersion": "1.0.0", "networkLabels": {"a": 1}}', Code.INVALID_CONFIGURATION),
        ('{"cniVersion": "1.0.0", "stableNames": "yes"}', Code.INVALID_CONFIGURATION),
        ('{"cniVersion": "1.0.0", "chained": "portmap"}', Code.INVALID_CONFIGURATION),
        ('{"cniVersion": "1.0.0", "nodePath": "yes"}', Code.INVALID_CONFIGURATION),
    ],
)
def test_a_wrong_configuration_is_refused_by_the_specifications_code(stdin: str, code: Code) -> None:
    with pytest.raises(CniError) as refused:
        configuration(Call(command="ADD", stdin=stdin))
    assert refused.value.code is code


@pytest.mark.parametrize(
    "made",
    [
        Call(command="MOVE"),
        Call(command="ADD", container_id="", netns="/n", ifname="eth0"),
        Call(command="ADD", container_id="../x", netns="/n", ifname="eth0"),
        Call(command="ADD", container_id="abc", netns="", ifname="eth0"),
        Call(command="ADD", container_id="abc", netns="/n", ifname="a-name-that-is-too-long"),
        Call(command="ADD", container_id="abc", netns="/n", ifname="a b"),
        Call(command="DEL", container_id="abc", ifname=""),
    ],
)
def test_a_wrong_environment_is_refused(made: Call) -> None:
    with pytest.raises(CniError) as refused:
        check(made)
    assert refused.value.code is Code.INVALID_ENVIRONMENT


def test_a_deletion_needs_no_namespace() -> None:
    check(Call(command="DEL", container_id="abc", ifname="eth0"))


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_result_is_of_the_version_asked_for(version: str) -> None:
    said = result(version, WORKLOAD, "eth0", "/run/netns/x", host_end="weft-v1")
    assert said["cniVersion"] == version
    assert [each["address"] for each in said["ips"]] == ["10.0.0.5/24", "2001:db8::5/64"]
    assert ("version" in said["ips"][0]) == version.startswith(("0.3", "0.4"))
    assert ("mtu" in said["interfaces"][0]) == (version == "1.1.0")
    assert said["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "2001:db8::1"}]


def test_the_oldest_result_is_as_mesos_reads_it() -> None:
    said = result("0.2.0", WORKLOAD, "eth0", "/n", host_end="weft-v1")
    route = [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]
    assert said["ip4"] == {"ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": route}
    assert said["ip6"]["ip"] == "2001:db8::5/64"


def test_an_error_has_code_sentence_and_details() -> None:
    error = CniError(Code.TRY_AGAIN_LATER, "not yet", "because")
    assert failure("1.0.0", error) == {"cniVersion": "1.0.0", "code": 11, "msg": "not yet", "details": "because"}


@pytest.mark.parametrize(
    ("conf", "reached"),
    [({}, False), ({"chained": ["bandwidth"]}, False), ({"chained": ["portmap"]}, True), ({"nodePath": True}, True)],
)
def test_the_node_reaches_a_container_if_asked_for_or_if_its_ports_are_mapped(
    conf: dict[str, Any], reached: bool
) -> None:
    found, _ = configuration(Call(command="ADD", stdin=json.dumps({"cniVersion": "1.0.0", **conf})))
    assert found.node_path is reached
