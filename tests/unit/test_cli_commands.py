"""What commands print, and how they end."""

import json
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from click.testing import CliRunner, Result

from weft.cli.failure import REFUSED, UNAVAILABLE, USAGE, guarded
from weft.cli.main import weft
from weft.client import Client

NETWORK = {
    "id": "11111111-1111-7111-8111-111111111111",
    "name": "web",
    "project_id": "red",
    "provider:segmentation_id": 10001,
}
PORT = {
    "id": "22222222-2222-7222-8222-222222222222",
    "name": "web-1",
    "network_id": NETWORK["id"],
    "mac": "fa:16:3e:00:00:01",
    "fixed_ips": [{"subnet_id": "s", "address": "10.0.1.5"}],
    "state": "BINDING",
    "epoch": 1,
    "bindings": [{"node": "node1", "epoch": 1, "owed": ["host", "fabric"]}],
    "realizations": [{"epoch": 1, "realizer": "host", "state": "failed", "reason": "no bridge br-int"}],
}
HISTORY = [
    {"at": 100.0, "actor": "api", "step": "created"},
    {"at": 100.25, "actor": "agent/node1", "step": "device_plugged", "epoch": 1},
]

Answer = Callable[[httpx.Request], httpx.Response]


class Server:
    """A server with one network and one port; keeps what it was asked to change."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, object]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method != "GET":
            self.changes.append((request.method, path, json.loads(request.content or b"null")))
        if path.startswith("/v1/ports") and path.endswith("/history"):
            return httpx.Response(200, json={"history": HISTORY})
        if path == "/v1/ports":
            return httpx.Response(200, json={"ports": [PORT]})
        if path.startswith("/v1/ports"):
            return httpx.Response(200, json={"port": PORT})
        collection = path.split("/")[2]
        row = {"networks": NETWORK, "ports": PORT}.get(collection, {"id": "new"})
        asked = request.url.params.get("name")
        found = [row] if asked in (None, row.get("name")) else []
        return httpx.Response(200, json={collection: found, collection.removesuffix("s"): row})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    fake = Server()
    use(monkeypatch, fake)
    return fake


def use(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setattr("weft.cli.connection.Client", partial(Client, transport=httpx.MockTransport(answer)))
    monkeypatch.setenv("WEFT_SERVER", "http://weft.test")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weft, list(arguments))


def ended(*arguments: str) -> int | str | None:
    """Run as the program does: errors become a line and an exit code."""
    with pytest.raises(SystemExit) as caught:
        guarded(lambda: weft.main(list(arguments), standalone_mode=False))
    return caught.value.code


@pytest.mark.usefixtures("server")
def test_ports_are_a_table_for_people() -> None:
    shown = run("port", "list")
    assert shown.exit_code == 0, shown.output
    head, row = shown.output.splitlines()
    assert head.split() == ["NAME", "STATE", "NODE", "ADDRESSES", "MAC", "NETWORK", "OWNER", "ID"]
    assert row.split() == ["web-1", "BINDING", "node1", "10.0.1.5", "fa:16:3e:00:00:01", "web", "-", PORT["id"]]


@pytest.mark.usefixtures("server")
def test_ports_are_json_for_programs() -> None:
    (port,) = json.loads(run("port", "list", "--json").output)
    assert (port["id"], port["state"]) == (PORT["id"], "BINDING")


@pytest.mark.usefixtures("server")
def test_a_port_is_shown_with_who_did_what_and_when() -> None:
    shown = run("port", "show", "web-1").output
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "1 node1 current host failed - no bridge br-int" in lines
    assert "1 node1 current fabric pending - -" in lines
    assert any(line.endswith("+0.250 s agent/node1 device plugged 1 -") for line in lines)


def test_a_port_is_created_on_a_network_by_name(server: Server) -> None:
    result = run("port", "create", "web", "--name", "web-1", "--address", "10.0.1.5", "--node", "node1")
    assert result.exit_code == 0, result.output
    assert server.changes == [
        (
            "POST",
            "/v2.0/ports",
            {
                "port": {
                    "network_id": NETWORK["id"],
                    "project_id": "red",
                    "name": "web-1",
                    "fixed_ips": [{"ip_address": "10.0.1.5"}],
                    "binding:host_id": "node1",
                }
            },
        )
    ]


def test_nothing_is_deleted_if_one_of_the_names_is_wrong(server: Server) -> None:
    assert ended("network", "delete", "web", "wbe") == REFUSED
    assert server.changes == []


def test_a_subnets_options_travel_under_neutrons_names(server: Server) -> None:
    run("subnet", "create", "web", "10.0.1.0/24", "--gateway", "none", "--pool", "10.0.1.10-10.0.1.20")
    assert server.changes[0][2] == {
        "subnet": {
            "network_id": NETWORK["id"],
            "cidr": "10.0.1.0/24",
            "ip_version": 4,
            "gateway_ip": None,
            "allocation_pools": [{"start": "10.0.1.10", "end": "10.0.1.20"}],
            "project_id": "red",
        }
    }


@pytest.mark.parametrize(
    ("status", "code"), [(400, REFUSED), (403, REFUSED), (404, REFUSED), (409, REFUSED), (503, UNAVAILABLE)]
)
def test_a_servers_error_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    body = {"NeutronError": {"type": "Whatever", "message": "address 10.0.1.5 is taken", "detail": ""}}
    use(monkeypatch, lambda _: httpx.Response(status, json=body))
    assert ended("network", "list") == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "weft: address 10.0.1.5 is taken\n")


def test_no_server_is_said_and_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("port", "list", "--server", "unix:/nonexistent/weft.sock") == UNAVAILABLE
    assert "no weft server answers at unix:/nonexistent/weft.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("prot", "list"),
        ("port", "list", "--nod", "x"),
        ("port", "show"),
        ("port", "create", "web", "--wait"),
    ],
)
@pytest.mark.usefixtures("server")
def test_wrong_usage_has_its_own_code(arguments: tuple[str, ...]) -> None:
    assert ended(*arguments) == USAGE


@pytest.mark.usefixtures("server")
def test_a_range_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("subnet", "create", "web", "10.0.1.0/24", "--pool", "10.0.1.10") == USAGE
    assert "'10.0.1.10' is no range of addresses" in capsys.readouterr().err
