"""The agent's settings: defaults, and every problem named."""

from pathlib import Path

import pytest

from weft.agent.settings import BondMode, Datapath, load, parse, problems
from weft.model.errors import Invalid

GOOD = {
    "node": "node1",
    "server": "http://172.31.0.10:9696",
    "nics": ["nic0", "nic1"],
    "management": "172.31.1.11/24",
    "gateway": "172.31.1.1",
}


def test_defaults() -> None:
    settings = parse(GOOD)
    assert settings.servers == ("http://172.31.0.10:9696",)
    assert settings.mtu_bytes == 1500
    assert settings.routes == ("0.0.0.0/0",)
    assert settings.ovs.db_path == "/run/openvswitch/db.sock"
    assert settings.ovs.datapath is Datapath.AUTO
    assert settings.ovs.bond_mode is BondMode.ACTIVE_BACKUP
    assert problems(settings) == []


def test_a_cluster_is_reached_by_its_service_account_unless_a_kubeconfig_is_named() -> None:
    within = parse({**GOOD, "cni_socket": "/s", "kubernetes": {}}).kubernetes
    assert within is not None
    assert (within.kubeconfig, within.node, within.labels) == (None, None, True)
    given = {"kubeconfig": "/k", "context": "c", "node": "node1.example.org", "labels": False}
    assert parse({**GOOD, "cni_socket": "/s", "kubernetes": given}).kubernetes is not None


def test_several_servers_and_a_socket_elsewhere() -> None:
    settings = parse({**GOOD, "server": ["http://a:1", "unix:/b"], "ovs": {"run_dir": "/r", "db": "/d"}})
    assert settings.servers == ("http://a:1", "unix:/b")
    assert settings.ovs.db_path == "/d"
    assert parse({**GOOD, "ovs": {"run_dir": "/r"}}).ovs.db_path == "/r/db.sock"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"nicks": []}, "nicks"),
        ({"ovs": {"bridge": "br0"}}, "bridge"),
        ({"ovs": {"bond_mode": "balance-slb"}}, "balance-slb"),
        ({"nics": "nic0"}, "array"),
        ({"nics": []}, "'nics' is empty"),
        ({"nics": ["nic0", "nic0"]}, "nics names 'nic0' twice"),
        ({"nics": ["a-name-of-16-byte"]}, "'a-name-of-16-byte' in nics"),
        ({"node": ""}, "'node' is empty"),
        ({"server": "172.31.0.10:9696"}, "server '172.31.0.10:9696'"),
        ({"server": []}, "'server' is empty"),
        ({"key_file": "/k"}, "no certificate_file"),
        ({"mtu_bytes": 900}, "mtu_bytes = 900"),
        ({"cni_socket": "cni.sock"}, "cni_socket 'cni.sock' is no absolute path"),
        ({"cni_socket": "/" + "x" * 107}, "at most 107 bytes"),
        ({"kubernetes": {}}, "[kubernetes] is set, but no cni_socket"),
        ({"cni_socket": "/s", "kubernetes": {"context": "c"}}, "context 'c' is set, but no kubeconfig"),
        ({"cni_socket": "/s", "kubernetes": {"node": "Node_1"}}, "node 'Node_1' is no name"),
        ({"cni_socket": "/s", "kubernetes": {"kubeconfg": "/k"}}, "kubeconfg"),
        ({"management": "172.31.1.11/33"}, "172.31.1.11/33"),
        ({"gateway": "172.31.2.1"}, "gateway 172.31.2.1"),
        ({"gateway": "172.31.1.11"}, "gateway 172.31.1.11"),
        ({"management": None}, "gateway is set"),
        ({"routes": ["10.0.0.1/8"]}, "write 10.0.0.0/8"),
        ({"routes": ["::/0"]}, "different families"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], named: str) -> None:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(Invalid) as caught:
        parse(document)
    assert named in caught.value.message


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse({**GOOD, "mtu_bytes": 1, "nics": ["x", "x"], "gateway": "1.2.3.4"})
    assert caught.value.message.count(";") == 2


def test_a_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    with pytest.raises(Invalid, match="cannot be read"):
        load(path)
    path.write_text("node = ")
    with pytest.raises(Invalid, match="is not TOML"):
        load(path)
    path.write_text('node = "n"\nserver = "unix:/s"\nnics = ["nic0"]\n')
    assert load(path).nics == ("nic0",)
    path.write_text('node = "n"\nserver = "unix:/s"\nnics = []\n')
    with pytest.raises(Invalid, match=r"agent\.toml: 'nics' is empty"):
        load(path)
