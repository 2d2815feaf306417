"""The API against a plain model: no address has two owners, nothing is lost, quotas are exact, whatever runs at once.

Each step sends some requests at the same time. In which order the server takes them is its own affair, so the model
asks of the answers what holds for every order, and then takes them over; after each step the server shows the same.
"""

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx
from api_server import ApiServer, Clock, api_server
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.thorough import examples

PROJECTS = ("red", "blue")
NODES = ("node1", "node2", "")
CIDRS = (IPv4Network("10.61.0.0/28"), IPv4Network("10.62.0.0/29"))
NOBODYS = 3
"""Of each: its own address, its broadcast address and its gateway."""
QUARANTINE_S = 30.0
STEPS_S = (7.0, 31.0)
"""How far the clock moves at once; no sum of them is a quarantine, so it is always clear what still rests."""


@dataclass
class Owned:
    """A port as the model has it."""

    project: str
    network: str
    addresses: frozenset[str]
    name: str = ""
    node: str = ""


@dataclass(frozen=True)
class Request:
    """What is sent, and what the model has to know of it."""

    kind: str
    project: str
    network: str = ""
    count: int = 1
    address: str = ""
    name: str = ""
    key: str = ""
    node: str = ""
    port: str = ""
    """Which of the ports that there are, for requests about one; a number until it is aimed."""


@dataclass
class Step:
    """Requests that ran at once: the model before them, what was answered, and what came of it."""

    before: dict[str, Owned]
    answers: list[tuple[Request, httpx.Response]]
    created: dict[str, Owned] = field(default_factory=dict)
    given: dict[str, set[frozenset[str]]] = field(default_factory=dict)
    """Of ports that were there: all addresses that a request has given them."""

    def held(self) -> set[tuple[str, str]]:
        """Return all addresses, with their networks, that some port had at some moment."""
        everything = [(id_, owned) for ports in (self.before, self.created) for id_, owned in ports.items()]
        return {
            (owned.network, address)
            for id_, owned in everything
            for addresses in (owned.addresses, *self.given.get(id_, ()))
            for address in addresses
        }

    def new(self) -> set[tuple[str, str]]:
        """Return all addresses, with their networks, that a request has given."""
        made = {(owned.network, address) for owned in self.created.values() for address in owned.addresses}
        had = {id_: self.before[id_] for id_ in self.given}
        return made | {
            (owned.network, address)
            for id_, owned in had.items()
            for addresses in self.given[id_]
            for address in addresses - owned.addresses
        }


requests = st.builds(
    Request,
    kind=st.sampled_from(("create", "create", "bulk", "named", "keyed", "move", "bind", "delete", "delete")),
    project=st.sampled_from(PROJECTS),
    count=st.integers(2, 4),
    name=st.sampled_from(("a", "b")),
    key=st.sampled_from(("k1", "k2")),
    node=st.sampled_from(NODES),
    port=st.integers(0, 30).map(str),
    network=st.sampled_from(("0", "1")),
    address=st.sampled_from(("", "", "3", "4", "5")),
)


class ApiMachine(RuleBasedStateMachine):
    """Two projects, two small networks that both may use, and a clock that moves."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.files = contextlib.ExitStack()
        self.folder = Path(self.files.enter_context(tempfile.TemporaryDirectory()))
        self.clock = Clock()
        self.ports: dict[str, Owned] = {}
        self.keys: dict[str, tuple[Request, str]] = {}
        """What was done under a key, and which port that made."""
        self.limits = dict.fromkeys(PROJECTS, -1)
        self.rests: dict[tuple[str, str], float] = {}
        """By network and address, since when an address rests."""

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.start()
        made = [self.do(self.server.make_network(str(cidr), shared=True)) for cidr in CIDRS]
        self.networks = {network: cidr for (network, _), cidr in zip(made, CIDRS, strict=True)}

    def start(self) -> None:
        self.running = contextlib.AsyncExitStack()
        self.server: ApiServer = self.do(self.running.enter_async_context(api_server(self.folder, clock=self.clock)))

    def teardown(self) -> None:
        if hasattr(self, "server"):
            report = self.do(self.server.call("POST", "/v1/ipam/check", {"fix": False}, status=200))
            assert report["findings"] == []
            self.do(self.running.aclose())
        self.files.close()
        self.loop.close()

    # What is done.

    @rule(wanted=st.lists(requests, min_size=1, max_size=5))
    def at_once(self, wanted: list[Request]) -> None:
        aimed = [self.aimed(each) for each in wanted]

        async def run() -> list[httpx.Response]:
            return await asyncio.gather(*(self.send(each) for each in aimed))

        answers = self.do(run())
        self.settle(Step(dict(self.ports), list(zip(aimed, answers, strict=True))))

    @rule(project=st.sampled_from(PROJECTS), limit=st.integers(-1, 6))
    def limit(self, project: str, limit: int) -> None:
        self.do(self.server.call("PUT", f"/v2.0/quotas/{project}", {"quota": {"port": limit}}, status=200))
        self.limits[project] = limit

    @rule(seconds=st.sampled_from(STEPS_S))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        self.do(self.running.aclose())
        self.start()

    # What has to be so.

    @invariant()
    def the_server_shows_the_model(self) -> None:
        if not hasattr(self, "server"):
            return
        shown = self.do(self.server.call("GET", "/v2.0/ports", status=200))["ports"]
        assert {each["id"]: _as_owned(each) for each in shown} == self.ports
        held = [(each.network, address) for each in self.ports.values() for address in each.addresses]
        assert len(held) == len(set(held)), "an address has two owners"
        for project in PROJECTS:
            quota = self.do(self.server.call("GET", f"/v2.0/quotas/{project}/details", status=200))["quota"]
            assert quota["port"] == {"limit": self.limits[project], "used": self.count(project), "reserved": 0}
        rows = self.do(self.server.call("GET", "/v2.0/network-ip-availabilities", status=200))
        used = {each["network_id"]: each["used_ips"] for each in rows["network_ip_availabilities"]}
        assert used == {network: sum(each == network for each, _ in held) for network in self.networks}

    # How it is sent.

    def aimed(self, request: Request) -> Request:
        """Return a request with the network, the port and the address that it means."""
        port = sorted(self.ports)[int(request.port) % len(self.ports)] if self.ports else "none"
        network = list(self.networks)[int(request.network)]
        if request.kind == "move" and port in self.ports:
            network = self.ports[port].network
        address = str(self.networks[network][int(request.address)]) if request.address else ""
        return dataclasses.replace(request, network=network, port=port, address=address)

    async def send(self, request: Request) -> httpx.Response:
        method, path, body = _wire(request)
        headers = {"X-Project-Id": request.project}
        if request.kind == "keyed":
            headers["Idempotency-Key"] = request.key
        return await self.server.answer(method, path, json=body, headers=headers)

    # What may be answered.

    def settle(self, step: Step) -> None:
        """Take over what was answered, and hold it to what any order allows."""
        for request, answer in sorted(step.answers, key=lambda each: "idempotency-replayed" in each[1].headers):
            if answer.status_code < 300:
                self.accept(step, request, answer)
        gone = {each.port for each, answer in step.answers if (each.kind, answer.status_code) == ("delete", 204)}
        self.ports = {id_: owned for id_, owned in (step.before | step.created).items() if id_ not in gone}
        for id_ in step.given.keys() - gone:
            self.ports[id_] = self.changed(step, id_)
        self.rests = {each: since for each, since in self.rests.items() if since + QUARANTINE_S > self.clock.now}
        assert not step.new() & self.rests.keys(), "an address was given that rests"
        kept = {(owned.network, address) for owned in self.ports.values() for address in owned.addresses}
        self.rests |= dict.fromkeys(step.held() - kept, self.clock.now)
        for request, answer in step.answers:
            if answer.status_code >= 300:
                body = answer.json()
                kind = body["NeutronError"]["type"] if "NeutronError" in body else body["error"]["kind"]
                assert self.may_refuse(step, gone, request, kind), (request, answer.status_code, body)

    def accept(self, step: Step, request: Request, answer: httpx.Response) -> None:
        """Take over what was done."""
        match request.kind:
            case "create":
                self.made(step, answer.json()["port"])
            case "bulk":
                ports = answer.json()["ports"]
                assert len(ports) == request.count, "all or none"
                for each in ports:
                    self.made(step, each)
            case "named":
                id_ = answer.json()["port"]["id"]
                if answer.status_code == 201:
                    self.made(step, self.do(self.server.call("GET", f"/v1/ports/{id_}", status=200))["port"])
                owned = (step.before | step.created)[id_]
                assert (owned.project, owned.network, owned.name) == (request.project, request.network, request.name)
            case "keyed":
                port = answer.json()["port"]
                if "idempotency-replayed" not in answer.headers:
                    self.made(step, port)
                known = self.keys.setdefault(request.key, (_body(request), port["id"]))
                assert known == (_body(request), port["id"]), "one key, one request, one port"
            case "move" | "bind":
                step.given.setdefault(request.port, set()).add(_as_owned(answer.json()["port"]).addresses)

    def made(self, step: Step, port: dict[str, Any]) -> None:
        assert port["id"] not in step.before.keys() | step.created.keys()
        step.created[port["id"]] = _as_owned(port)

    def changed(self, step: Step, id_: str) -> Owned:
        """Return a port that was changed: of several changes at once, the server says which came last."""
        owned = _as_owned(self.do(self.server.call("GET", f"/v2.0/ports/{id_}", status=200))["port"])
        assert owned.addresses in step.given[id_]
        assert owned.node in self.nodes_of(step, id_)
        assert dataclasses.replace(owned, addresses=frozenset(), node="") == dataclasses.replace(
            step.before[id_], addresses=frozenset(), node=""
        )
        return owned

    def may_refuse(self, step: Step, gone: set[str], request: Request, kind: str) -> bool:
        """Tell whether what a refusal says was so at some moment of the step."""
        wanted = request.count if request.kind == "bulk" else 1
        busy = step.held() | self.rests.keys()
        had = sum(owned.project == request.project for owned in (step.before | step.created).values())
        limit = self.limits[request.project]
        in_use = sum(network == request.network for network, _ in busy)
        so = {
            "IpAddressGenerationFailure": self.networks[request.network].num_addresses - NOBODYS - in_use < wanted,
            "IpAddressAlreadyAllocated": (request.network, request.address) in busy,
            "OverQuota": 0 <= limit < had + wanted,
            "PortNotFound": request.port in gone or request.port not in step.before,
            "PortBindingConflict": bool(self.nodes_of(step, request.port) - {"", request.node}),
            "IdempotencyKeyReused": request.key in self.keys and self.keys[request.key][0] != _body(request),
        }
        return so.get(kind, False)

    def nodes_of(self, step: Step, port: str) -> set[str]:
        """Return the nodes that a port was on at some moment of a step."""
        before = {step.before[port].node} if port in step.before else set()
        return before | {each.node for each, _ in step.answers if (each.kind, each.port) == ("bind", port)}

    def count(self, project: str) -> int:
        return sum(each.project == project for each in self.ports.values())


def _wire(request: Request) -> tuple[str, str, object]:
    """Return the method, the path and the body of a request."""
    fixed = [{"ip_address": request.address}] if request.address else []
    port = {"network_id": request.network} | ({"fixed_ips": fixed} if fixed else {})
    path = f"/v2.0/ports/{request.port}"
    return {
        "create": ("POST", "/v2.0/ports", {"port": port}),
        "keyed": ("POST", "/v2.0/ports", {"port": port}),
        "bulk": ("POST", "/v2.0/ports", {"ports": [{"network_id": request.network}] * request.count}),
        "named": ("PUT", f"/v1/ports/by-name/{request.network}/{request.name}", {}),
        "move": ("PUT", path, {"port": {"fixed_ips": fixed}}),
        "bind": ("PUT", path, {"port": {"binding:host_id": request.node}}),
        "delete": ("DELETE", path, None),
    }[request.kind]


def _body(request: Request) -> Request:
    """Return what of a request with a key the key stands for."""
    return Request("keyed", request.project, network=request.network, address=request.address)


def _as_owned(port: dict[str, Any]) -> Owned:
    """Return a port of either API as the model has it."""
    addresses = [each.get("ip_address") or each["address"] for each in port["fixed_ips"]]
    node = port.get("binding:host_id", "")
    return Owned(port["project_id"], port["network_id"], frozenset(addresses), port["name"], node)


TestApi = ApiMachine.TestCase
TestApi.settings = settings(
    max_examples=examples(25), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
