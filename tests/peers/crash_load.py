"""HTTP load of creates and deletes, and a book of what was answered, to be held to what is there after a crash."""

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx

WORKERS = 8
KEPT = 400
"""Ports about which as many are deleted as created."""
MAX_BULK = 5
DEADLINE_S = 60.0
"""Only reached by a failing test."""
PAGE = 1000
NODES = ("node1", "node2", "node3")
FULL = "IpAddressGenerationFailure"

Ports = dict[str, dict[str, Any]]
"""By id, as the API shows them."""


@dataclass
class Figures:
    """What was counted in all rounds."""

    rounds: int = 0
    created: int = 0
    """Ports whose creation was acknowledged."""
    deleted: int = 0
    """Ports whose deletion was acknowledged."""
    put_off: int = 0
    """Requests that were accepted as operations; each is held to what became of it."""
    unknown: int = 0
    """Requests that were never answered."""
    done: int = 0
    """Those of them that turned out to have been done."""
    lost: int = 0
    """Acknowledged creates that are not there, or not with their address."""
    risen: int = 0
    """Acknowledged deletes that are there."""
    doubled: int = 0
    """Addresses that two ports have."""
    halves: int = 0
    """Requests of several ports of which only a part was done."""
    strangers: int = 0
    """Ports that nobody asked for."""
    full: int = 0
    """Creates that were refused because no address was free."""

    @property
    def wrong(self) -> int:
        """How much must not be."""
        return self.lost + self.risen + self.doubled + self.halves + self.strangers


@dataclass
class Creation:
    """A request for ports by names that no other request has."""

    names: tuple[str, ...]
    key: str | None = None
    later: bool = False
    body: dict[str, Any] = field(default_factory=dict)


class Load:
    """Works on one network, and keeps the book."""

    def __init__(self, network_id: str, dice: random.Random, figures: Figures) -> None:
        self.figures = figures
        self._network_id = network_id
        self._dice = dice
        self._numbers = itertools.count(1)
        self._there: dict[str, str] = {}
        """The address of each port that is there."""
        self._gone: set[str] = set()
        self._creating: dict[str, Creation] = {}
        """What was asked for and not answered, by its first name."""
        self._accepted: dict[str, str] = {}
        """The operations of ports that shall be made, by the ports' names."""
        self._deleting: dict[str, str] = {}
        """The same of what was there."""
        self._stopping = False
        self.cut_off: list[str] = []
        """Of each worker whose server could not be reached any more, which one that was."""
        self.unavailable = 0
        """Answers of 503."""

    async def run(self, *urls: str) -> None:
        """Send requests to all servers until `stop`; who works with one that can't be reached any more stops."""
        self._stopping = False
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30.0)) for url in urls]
            await asyncio.gather(*(self._work(clients[at % len(clients)]) for at in range(WORKERS)))

    def stop(self) -> None:
        """Have every worker stop after its request."""
        self._stopping = True

    async def settle(self, http: httpx.AsyncClient) -> list[str]:
        """Compare the book with what is there now, and go on from that; return what is wrong."""
        wrong = await self._follow_operations(http)
        there = await all_ports(http)
        wrong += [*self._losses(there), *self._doubles(there)]
        for creation in list(self._creating.values()):
            wrong += await self._find(http, creation, there)
        for id_, address in self._deleting.items():
            if id_ in there:
                self._there[id_] = address
            else:
                self._gone.add(id_)
                self.figures.done += 1
        self._creating.clear()
        self._deleting.clear()
        for id_ in there.keys() - self._there.keys() - self._gone:
            wrong.append(f"port {id_} was never asked for")
            self.figures.strangers += 1
        return wrong

    async def _follow_operations(self, http: httpx.AsyncClient) -> list[str]:
        """Wait until all operations have ended, and enter in the book what was accepted."""
        async with asyncio.timeout(DEADLINE_S):
            while (await http.get("/v1/operations", params={"state": "pending"})).json()["operations"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        wrong = []
        for name, id_ in self._accepted.items():
            answer = await http.get(f"/v1/operations/{id_}")
            made = answer.json().get("operation", {})
            if made.get("state") == "done" and made["answer"]["port"]["name"] == name:
                self._there[made["answer"]["port"]["id"]] = address_of(made["answer"]["port"])
            elif made.get("state") != "failed" or made["answer"]["NeutronError"]["type"] != FULL:
                wrong.append(f"operation {id_} was accepted: {answer.text}")
                self.figures.lost += 1
        self._accepted.clear()
        return wrong

    def _losses(self, there: Ports) -> list[str]:
        wrong = []
        for id_, address in list(self._there.items()):
            if id_ not in there or address_of(there[id_]) != address:
                wrong.append(f"port {id_} with {address} was acknowledged: {there.get(id_)}")
                self.figures.lost += 1
                del self._there[id_]
        for id_ in self._gone & there.keys():
            wrong.append(f"port {id_} was acknowledged to be gone")
            self.figures.risen += 1
        return wrong

    def _doubles(self, there: Ports) -> list[str]:
        addresses = [address_of(port) for port in there.values()]
        self.figures.doubled += len(addresses) - len(set(addresses))
        return [f"several ports have {each}" for each in set(addresses) if addresses.count(each) > 1]

    async def _find(self, http: httpx.AsyncClient, creation: Creation, there: Ports) -> list[str]:
        """Find out what became of a creation: all of it is there, or nothing; one with a key can be asked for again."""
        found = [port for port in there.values() if port["name"] in creation.names]
        self.figures.done += bool(found)
        if creation.key is not None:
            answer = await self._post(http, creation)
            if not refused_as_full(answer):
                assert answer.status_code == 201, answer.text
                named = (await http.get("/v2.0/ports", params={"name": creation.names[0]})).json()["ports"]
                if [port["id"] for port in named] != [answer.json()["port"]["id"]] or len(found) > 1:
                    self.figures.doubled += 1
                    return [f"key {creation.key} was sent again: {len(named)} ports"]
                found = named
                there[named[0]["id"]] = named[0]
        for port in found:
            self._there[port["id"]] = address_of(port)
        if len(found) in (0, len(creation.names)):
            return []
        self.figures.halves += 1
        return [f"{len(found)} of {len(creation.names)} ports of one request are there"]

    async def _work(self, http: httpx.AsyncClient) -> None:
        while not self._stopping:
            try:
                if self._dice.random() < len(self._there) / (2 * KEPT):
                    await self._delete(http)
                else:
                    await self._create(http)
            except httpx.TransportError:
                self.figures.unknown += 1
                self.cut_off.append(str(http.base_url).rstrip("/"))
                return

    async def _create(self, http: httpx.AsyncClient) -> None:
        count = self._dice.choice((1, 1, 1, MAX_BULK))
        names = tuple(f"p{next(self._numbers)}" for _ in range(count))
        rows = [{"network_id": self._network_id, "name": name, **self._host()} for name in names]
        way = self._dice.choice(("key", "later", "", "")) if count == 1 else ""
        body = {"port": rows[0]} if count == 1 else {"ports": rows}
        creation = Creation(names, f"key-{names[0]}" if way == "key" else None, way == "later", body)
        self._creating[names[0]] = creation
        answer = await self._post(http, creation)
        if answer.status_code == 503:  # nobody knows
            self.figures.unknown += 1
            self.unavailable += 1
            await asyncio.sleep(0.02)
            return
        del self._creating[names[0]]
        if refused_as_full(answer):
            self.figures.full += 1
            return
        if creation.later:
            assert answer.status_code == 202, answer.text
            self._accepted[names[0]] = answer.json()["operation"]["id"]
            self.figures.put_off += 1
            return
        assert answer.status_code == 201, answer.text
        made = [answer.json()["port"]] if count == 1 else answer.json()["ports"]
        assert [port["name"] for port in made] == list(names)
        self._there |= {port["id"]: address_of(port) for port in made}
        self.figures.created += count

    async def _delete(self, http: httpx.AsyncClient) -> None:
        id_ = self._dice.choice(list(self._there))
        self._deleting[id_] = self._there.pop(id_)
        answer = await http.delete(f"/v2.0/ports/{id_}")
        if answer.status_code == 503:
            self.figures.unknown += 1
            self.unavailable += 1
            await asyncio.sleep(0.02)
            return
        assert answer.status_code == 204, answer.text
        del self._deleting[id_]
        self._gone.add(id_)
        self.figures.deleted += 1

    async def _post(self, http: httpx.AsyncClient, creation: Creation) -> httpx.Response:
        headers = {} if creation.key is None else {"Idempotency-Key": creation.key}
        if creation.later:
            headers["Prefer"] = "respond-async"
        return await http.post("/v2.0/ports", json=creation.body, headers=headers)

    def _host(self) -> dict[str, str]:
        return {"binding:host_id": self._dice.choice(NODES)} if self._dice.random() < 0.3 else {}


async def all_ports(http: httpx.AsyncClient) -> Ports:
    """Return all ports, page by page."""
    found: Ports = {}
    query: dict[str, str | int] = {"limit": PAGE}
    while True:
        answer = await http.get("/v2.0/ports", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()["ports"]
        found |= {port["id"]: port for port in page}
        if len(page) < PAGE:
            return found
        query["marker"] = page[-1]["id"]


def address_of(port: dict[str, Any]) -> str:
    """Return a port's only address."""
    (fixed,) = port["fixed_ips"]
    return str(fixed["ip_address"])


def refused_as_full(answer: httpx.Response) -> bool:
    """Tell whether no address was free."""
    return answer.status_code == 409 and answer.json()["NeutronError"]["type"] == FULL
