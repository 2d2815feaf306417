"""The requests that the benches make of a server with a network in it."""

import json
import random
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from bench.load import Tally, as_fast_as_possible, at_a_rate, request

PER_BULK = 100
OFFERED_PER_S = 1_800
OFFERED_S = 8
CONNECTIONS = 64
BULK_CONNECTIONS = 8
MANY_CONNECTIONS = 1_000
NODES = ("node1", "node2", "node3")


class Service:
    """A server with a network in it, and the requests that are made of it."""

    def __init__(self, port: int, *, network: str = "") -> None:
        """`network`: one that was made before."""
        self._port = port
        self.network = network
        self._ids: list[str] = []

    async def prepare(self, inventory: str) -> None:
        """Load an inventory, a file's text, and make a network with a large subnet."""
        wire = tomllib.loads(inventory)
        wire.pop("lab", None)
        await self.one("PUT", "/v1/inventory", wire)
        self.network = await self.segment("10.0.0.0/9")

    async def segment(self, cidr: str) -> str:
        """Make a network with a subnet and return its id."""
        made = await self.one("POST", "/v2.0/networks", {"network": {"name": "bench"}})
        id_: str = made["network"]["id"]
        await self.one("POST", "/v2.0/subnets", {"subnet": {"network_id": id_, "ip_version": 4, "cidr": cidr}})
        return id_

    async def create(self, count: int) -> Tally:
        """Create ports one by one."""
        tally = await self._saturate((self._creation(at) for at in range(count)), keep=True)
        self._ids = [json.loads(body)["port"]["id"] for body in tally.bodies if body.startswith(b'{"port"')]
        return tally

    async def create_on(self, nodes: Sequence[str]) -> list[str]:
        """Create a port on each node and return their ids."""
        ids: list[str] = []
        for start in range(0, len(nodes), PER_BULK):
            part = nodes[start : start + PER_BULK]
            body = {"ports": [{"network_id": self.network, "binding:host_id": node} for node in part]}
            made = await self.one("POST", "/v2.0/ports", body)
            ids += [each["id"] for each in made["ports"]]
        return ids

    async def show(self, count: int) -> Tally:
        """Show ports by id, any of those that were made."""
        chosen = random.choices(self._ids, k=count)
        return await self._saturate(request("GET", f"/v2.0/ports/{id_}") for id_ in chosen)

    async def bulk(self, count: int) -> Tally:
        """Create ports by the hundred."""
        body = json.dumps({"ports": [{"network_id": self.network, "name": "bulk"}] * PER_BULK}).encode()
        messages = iter([request("POST", "/v2.0/ports", body)] * count)
        return await as_fast_as_possible(self._port, BULK_CONNECTIONS, messages)

    async def bind(self, count: int) -> Tally:
        """Bind ports to nodes."""

        def messages() -> Iterator[bytes]:
            for at, id_ in enumerate(self._ids[:count]):
                body = {"port": {"binding:host_id": NODES[at % len(NODES)]}}
                yield request("PUT", f"/v2.0/ports/{id_}", json.dumps(body).encode())

        return await self._saturate(messages())

    async def offered(self) -> Tally:
        """Create ports at a rate that is below what the server can do, over many connections."""
        messages = (self._creation(at) for at in range(OFFERED_PER_S * OFFERED_S))
        return await at_a_rate(self._port, MANY_CONNECTIONS, messages, OFFERED_PER_S)

    async def list_pages(self, count: int, network: str = "", markers: Sequence[str] = ()) -> Tally:
        """List pages of a hundred ports of a network, from anywhere."""
        path = f"/v2.0/ports?network_id={network or self.network}&limit=100&marker="
        messages = (request("GET", path + id_) for id_ in random.choices(markers or self._ids, k=count))
        return await as_fast_as_possible(self._port, 1, messages)

    def _creation(self, at: int) -> bytes:
        port = {"network_id": self.network, "name": f"vm-{at}", "device_id": f"d-{at}", "device_owner": "compute:nova"}
        return request("POST", "/v2.0/ports", json.dumps({"port": port}).encode())

    async def _saturate(self, messages: Iterator[bytes], *, keep: bool = False) -> Tally:
        return await as_fast_as_possible(self._port, CONNECTIONS, messages, keep=keep)

    async def one(self, method: str, path: str, body: object) -> dict[str, Any]:
        """Make one request and return its answer."""
        tally = await as_fast_as_possible(
            self._port, 1, iter([request(method, path, json.dumps(body).encode())]), keep=True
        )
        assert not tally.failures(), (method, path, tally.bodies)
        found: dict[str, Any] = json.loads(tally.bodies[0])
        return found
