"""The whole API on a real store in a temporary folder, driven in-process; its clock stands still until moved."""

import contextlib
import tomllib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from api_stream import Stream
from empty_store import put_empty_store

from weft.api.app import Api
from weft.api.auth.authenticator import Authentication
from weft.api.auth.credential import TokenSource
from weft.api.auth.token_file import AdminTokens
from weft.api.native.fabric import Fabric
from weft.fabric.limits import Resource, Usage
from weft.fabric.planned import PlannedSwitch, UnreadSwitch
from weft.fabric.rollout import Order, Rollout
from weft.model.errors import Transient
from weft.model.ids import SwitchName
from weft.store import Store

ADMIN = "the-administrators-token"
START = 1_700_000_000.0
"""2023-11-14T22:13:20Z"""

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"


class Clock:
    """Unix time in seconds, as a test says."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class ApiServer:
    """A running API and an administrator's client of it."""

    def __init__(self, api: Api, store: Store, clock: Clock, http: httpx.AsyncClient) -> None:
        self.api = api
        self.store = store
        self.clock = clock
        self.http = http

    async def call(
        self, method: str, path: str, body: object = None, *, token: str = ADMIN, status: int | None = None, **kw: Any
    ) -> Any:
        """Send a request with a JSON body and return the answer's; check its status if one is expected."""
        answer = await self.answer(method, path, json=body, token=token, **kw)
        if status is not None:
            assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def answer(self, method: str, path: str, *, token: str = ADMIN, **kw: Any) -> httpx.Response:
        """Send a request and return the whole answer."""
        if kw.get("json", ...) is None:
            del kw["json"]
        headers = {"Authorization": f"Bearer {token}"} | kw.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **kw)

    async def make(self, resource: str, **attributes: object) -> dict[str, Any]:
        """Create a Neutron object."""
        made = await self.call("POST", f"/v2.0/{resource}s", {resource: attributes}, status=201)
        found: dict[str, Any] = made[resource]
        return found

    async def make_network(self, cidr: str = "10.61.0.0/24", **attributes: object) -> tuple[str, str]:
        """Create a network with one subnet and return their ids."""
        network = (await self.make("network", **attributes))["id"]
        subnet = await self.make("subnet", network_id=network, cidr=cidr, ip_version=4)
        return network, subnet["id"]

    async def token_of(self, node: str) -> str:
        """Make a new token for a node."""
        return str((await self.call("POST", f"/v1/nodes/{node}/bootstrap", status=200))["token"])

    def stream(self, path: str, *, token: str = ADMIN, query: str = "") -> Stream:
        """Open a stream."""
        return Stream(self.api.app, path, headers={"Authorization": f"Bearer {token}"}, query=query)


class StillFabric:
    """A fabric that nobody runs; its plans are what a test says."""

    def __init__(self, plans: Mapping[SwitchName, PlannedSwitch | UnreadSwitch] | None = None) -> None:
        self._plans = plans or {}
        self.orders: list[Order] = []

    def plans(self) -> Mapping[SwitchName, PlannedSwitch | UnreadSwitch]:
        return self._plans

    def usages(self) -> Mapping[SwitchName, Usage]:
        return {name: {Resource.VNIS: 7} for name in self._plans}

    async def apply(self, order: Order) -> Rollout:
        self.orders.append(order)
        raise Transient("nobody runs the fabric", retry_after_s=1.0)


@contextlib.asynccontextmanager
async def api_server(
    folder: Path,
    *,
    heartbeat_s: float = 60.0,
    fabric: Fabric | None = None,
    sources: Iterable[TokenSource] = (),
    clock: Clock | None = None,
) -> AsyncIterator[ApiServer]:
    """Run an API on a store that holds the example inventory: a new one, or the one that is in the folder."""
    clock = clock or Clock()
    path = folder / "weft.db"
    await put_empty_store(path)
    store = await Store.open(f"sqlite:///{path}", clock=clock)
    authentication = Authentication(sources=(AdminTokens([ADMIN]), *sources))
    api = Api(store, fabric or StillFabric(), authentication=authentication, clock=clock, heartbeat_s=heartbeat_s)
    transport = httpx.ASGITransport(api.app)
    async with api.running(), httpx.AsyncClient(transport=transport, base_url="http://weft.example:9696") as http:
        server = ApiServer(api, store, clock, http)
        wire = tomllib.loads(EXAMPLE.read_text())
        del wire["lab"]
        await server.call("PUT", "/v1/inventory", wire, status=200)
        yield server
    await store.close()
