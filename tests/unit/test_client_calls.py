"""What a client sends and how it reads what it gets."""

import inspect
import json

import httpx
import pytest

from weft.client import AsyncClient, Client
from weft.client.aio import AsyncCollection, AsyncRouters
from weft.client.sync import Collection, Routers
from weft.model.errors import Conflict, NotFound
from weft.model.intent import RealizationState
from weft.protocol.node import RealizationReport, RealizationReports, StepReport

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class Recorder:
    """Answers every request with the same JSON and keeps the requests."""

    def __init__(self, answer: object) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=self._answer)

    def client(self) -> Client:
        return Client("http://weft.test", "secret", transport=httpx.MockTransport(self))

    @property
    def sent(self) -> tuple[str, str, object]:
        request = self.requests[-1]
        return request.method, str(request.url), json.loads(request.content) if request.content else None


def test_neutron_requests() -> None:
    recorder = Recorder({"network": {"id": ID}, "networks": [{"id": ID}]})
    networks = recorder.client().networks
    assert networks.create({"name": "web"}) == {"id": ID}
    assert recorder.sent == ("POST", "http://weft.test/v2.0/networks", {"network": {"name": "web"}})
    assert networks.list(name="web", fields=["id", "name"]) == [{"id": ID}]
    assert recorder.sent == ("GET", "http://weft.test/v2.0/networks?name=web&fields=id&fields=name", None)
    networks.update(ID, {"name": "db"})
    assert recorder.sent == ("PUT", f"http://weft.test/v2.0/networks/{ID}", {"network": {"name": "db"}})
    networks.delete(ID)
    assert recorder.sent == ("DELETE", f"http://weft.test/v2.0/networks/{ID}", None)


def test_router_interfaces() -> None:
    recorder = Recorder({"port_id": "p"})
    routers = recorder.client().routers
    assert routers.add_interface("r", subnet_id="s") == {"port_id": "p"}
    assert recorder.sent == ("PUT", "http://weft.test/v2.0/routers/r/add_router_interface", {"subnet_id": "s"})
    routers.remove_interface("r", port_id="p")
    assert recorder.sent == ("PUT", "http://weft.test/v2.0/routers/r/remove_router_interface", {"port_id": "p"})


def test_every_request_carries_the_token() -> None:
    recorder = Recorder({})
    recorder.client().status()
    assert recorder.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_name_with_a_slash_stays_one_segment() -> None:
    recorder = Recorder({"node": {}})
    recorder.client().node("rack/1")
    assert recorder.sent[1] == "http://weft.test/v1/nodes/rack%2F1"


def test_bind_sends_an_expected_epoch_only_if_there_is_one() -> None:
    recorder = Recorder({"port": {"id": ID, "network_id": "n", "mac": "fa:16:3e:00:00:01", "state": "BINDING"}})
    recorder.client().bind(ID, "node1")
    assert recorder.sent == (
        "POST",
        f"http://weft.test/v1/ports/{ID}/bind",
        {"node": "node1", "supersede": False},
    )
    recorder.client().bind(ID, "node1", supersede=True, expected_epoch=3)
    assert recorder.sent[2] == {"node": "node1", "supersede": True, "expected_epoch": 3}


def test_a_port_is_read_with_its_state_and_its_node() -> None:
    binding = {"node": "node2", "epoch": 2, "owed": ["fabric", "host"]}
    old = {"node": "node1", "epoch": 1, "draining": True}
    row = {"id": ID, "network_id": "n", "mac": "fa:16:3e:00:00:01", "state": "MOVING", "bindings": [old, binding]}
    port = Recorder({"port": row | {"a_field_of_a_later_version": 1}}).client().port_status(ID)
    assert (port.state, port.node, port.bindings[1].owed) == ("MOVING", "node2", ("fabric", "host"))


def test_a_report_travels_in_the_protocols_form() -> None:
    recorder = Recorder({"revision": 7, "ignored": []})
    step = StepReport(step="flows_in_place", at=1.5)
    report = RealizationReport(port_id=ID, epoch=1, state=RealizationState.UP, steps=(step,))
    answer = recorder.client().report("node1", RealizationReports(reports=(report,)))
    assert answer.revision == 7
    sent = recorder.sent
    assert sent[:2] == ("POST", "http://weft.test/v1/nodes/node1/realizations")
    assert sent[2] == {
        "reports": [
            {
                "port_id": ID,
                "epoch": 1,
                "state": "up",
                "realizer": "host",
                "reason": "",
                "steps": [{"step": "flows_in_place", "at": 1.5, "detail": ""}],
            }
        ]
    }


def test_find_takes_an_id_or_a_name_that_is_unambiguous() -> None:
    recorder = Recorder({"ports": [{"id": ID}], "port": {"id": ID}})
    ports = recorder.client().ports
    ports.find(ID)
    assert recorder.sent[1] == f"http://weft.test/v2.0/ports/{ID}"
    assert ports.find("web") == {"id": ID}
    assert recorder.sent[1] == "http://weft.test/v2.0/ports?name=web"


def test_find_names_what_is_missing_and_what_is_ambiguous() -> None:
    with pytest.raises(NotFound, match="no port has the name or id 'web'"):
        Recorder({"ports": []}).client().ports.find("web")
    with pytest.raises(Conflict, match=r"2 ports are named 'web'.*a, b"):
        Recorder({"ports": [{"id": "a"}, {"id": "b"}]}).client().ports.find("web")


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(Client, AsyncClient), (Collection, AsyncCollection), (Routers, AsyncRouters)]
)
def test_the_two_clients_have_the_same_methods(blocking: type, awaited: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters) for name, each in members if not name.startswith("_")}

    only_in_event_loops = {"watch_node"}
    assert methods(blocking) == {k: v for k, v in methods(awaited).items() if k not in only_in_event_loops}
    for name, method in inspect.getmembers(awaited, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name
