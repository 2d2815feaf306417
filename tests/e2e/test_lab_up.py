"""A lab that is up is what its inventory says; asked from the devices themselves."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest
from running_lab import EXAMPLE, Lab, until, weft

from weft.lab.convergence import established, expected_sessions
from weft.lab.file import read

pytestmark = pytest.mark.e2e


def test_every_bgp_session_is_established_for_every_family(lab: Lab) -> None:
    for switch, expected in expected_sessions(read(EXAMPLE).inventory).items():
        assert established(lab.run(switch, "vtysh", "-c", "show bgp summary json")) == expected, switch


def test_every_switch_is_in_sync_and_every_agent_alive(lab: Lab) -> None:
    status = json.loads(weft("lab", "status", "--json").stdout)
    assert {row["name"]: row["state"] for row in status["switches"]} == dict.fromkeys(lab.state.switches, "in-sync")
    agents = {row["name"]: row["agent"] for row in status["nodes"]}
    assert agents == {**dict.fromkeys(lab.state.ovs_nodes, "alive"), "bm1": None, "ctl1": None}
    assert all(row["running"] for row in status["processes"])
    assert status["namespaces_missing"] == []


def test_it_comes_up_in_time(lab: Lab) -> None:
    assert lab.state.up_after_s is not None
    assert lab.state.up_after_s <= 20


def test_nodes_reach_the_server_through_the_fabric(lab: Lab) -> None:
    server = lab.client.bootstrap(lab.state.server).management
    assert server is not None
    for node in lab.state.ovs_nodes:
        lab.run(node, "ping", "-c", "1", "-W", "2", server.partition("/")[0])


def test_commands_of_the_machine_find_the_server(lab: Lab) -> None:
    rows = json.loads(weft("node", "list", "--json").stdout)
    assert {row["name"] for row in rows} == set(lab.state.nics)


def test_the_api_on_the_machine_asks_for_the_token(lab: Lab) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen("http://127.0.0.1:9696/v1/status")
    assert refused.value.code == 401


def test_a_second_lab_is_refused_and_the_first_left_alone(lab: Lab) -> None:
    before = lab.state
    done = weft("lab", "up", str(EXAMPLE), check=False)
    assert done.returncode == 1
    assert "a lab is up already" in done.stderr
    assert lab.state == before
    assert lab.client.status()


def test_exec_runs_inside_and_hands_on_the_exit_code(lab: Lab) -> None:
    assert weft("lab", "exec", "leaf1", "hostname").stdout.strip() == "leaf1"
    assert "mgmt0" in weft("lab", "exec", "spine2", "ip", "-br", "link").stdout
    assert "br-int" in weft("lab", "exec", "node1", "ovs-vsctl", "list-br").stdout
    assert weft("lab", "exec", "bm1", "sh", "-c", "exit 7", check=False).returncode == 7
    unknown = weft("lab", "exec", "leaf9", "true", check=False)
    assert unknown.returncode == 1
    assert "leaf9" in unknown.stderr
    assert "spine1" in unknown.stderr


def test_a_killed_bgpd_comes_back_with_its_sessions(lab: Lab) -> None:
    before = lab.run("leaf2", "pidof", "bgpd")
    weft("lab", "kill", "leaf2/bgpd")
    until(lambda: lab.run("leaf2", "pidof", "bgpd", check=False).strip() not in {"", before.strip()}, "a new bgpd")
    until(
        lambda: established(lab.run("leaf2", "vtysh", "-c", "show bgp summary json", check=False) or "{}") == 2,
        "leaf2 has its two sessions again",
        timeout_s=60,
    )


def test_a_switch_that_loses_power_forgets_all_and_is_configured_again(lab: Lab) -> None:
    weft("lab", "kill", "leaf3")
    assert (
        "br-mgmt"
        not in subprocess.run(["ip", "-n", "weft-leaf3", "link"], capture_output=True, text=True, check=True).stdout
    )
    assert "LOWER_UP" not in lab.run("node3", "ip", "-br", "link", "show", "nic0"), "node3 must lose carrier"
    off = weft("lab", "exec", "leaf3", "true", check=False)
    assert "is off" in off.stderr
    weft("lab", "start", "leaf3")
    until(
        lambda: established(lab.run("leaf3", "vtysh", "-c", "show bgp summary json", check=False) or "{}") == 2,
        "leaf3 has its two sessions again",
        timeout_s=90,
    )
    server = str(lab.client.bootstrap(lab.state.server).management).partition("/")[0]
    until(
        lambda: "1 received" in lab.run("node3", "ping", "-c", "1", "-W", "1", server, check=False),
        "node3 reaches the server through leaf3 again",
        timeout_s=90,
    )
    again = weft("lab", "start", "leaf3", check=False)
    assert "leaf3 is on" in again.stderr


def test_the_server_is_restarted_and_found_again(lab: Lab) -> None:
    revision = lab.client.status()["revision"]
    weft("lab", "kill", "server")
    assert weft("status", check=False).returncode == 3
    weft("lab", "start", "server")
    until(lambda: weft("status", check=False).returncode == 0, "the server answers again")
    assert lab.client.status()["revision"] >= revision
    until(
        lambda: all(
            (row.get("agent") or {}).get("state") == "alive"
            for row in lab.client.nodes()
            if row["name"] in lab.state.ovs_nodes
        ),
        "the agents are connected again",
        timeout_s=30,
    )


def test_what_cannot_be_killed_is_named(lab: Lab) -> None:
    for name, said in (("node9/agent", "node9/agent"), ("leaf1/nginx", "nginx")):
        done = weft("lab", "kill", name, check=False)
        assert done.returncode == 1
        assert said in done.stderr
