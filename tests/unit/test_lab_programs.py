"""The files that an installer writes, read by the program that they are for."""

from pathlib import Path

import pytest

from weft.agent import settings
from weft.lab import ovs, programs, state
from weft.protocol.node import NodeBootstrap


@pytest.fixture(autouse=True)
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "LAB_DIR", tmp_path)
    return tmp_path


def test_the_agent_understands_what_the_installer_wrote(lab_dir: Path) -> None:
    bootstrap = NodeBootstrap(
        node="node1",
        dataplane="ovs",
        nics=("nic0", "nic1"),
        management="172.31.0.11/24",
        gateway="172.31.0.1",
        mtu_bytes=1500,
        token="secret",
    )
    process = programs.install_agent(bootstrap, "172.31.1.9")
    written = settings.load(lab_dir / "node1" / "agent.toml")
    assert (written.node, written.servers, written.nics) == ("node1", ("http://172.31.1.9:9696",), ("nic0", "nic1"))
    assert (written.management, written.gateway) == ("172.31.0.11/24", "172.31.0.1")
    assert written.ovs.db_path == f"{ovs.run_dir('node1')}/db.sock"
    token = Path(str(written.token_file))
    assert token.read_text().strip() == "secret"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (process.name, process.namespace) == ("node1/agent", "weft-node1")
    assert process.argv[-1] == str(lab_dir / "node1" / "agent.toml")
