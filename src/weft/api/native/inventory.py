"""What is physically there: the inventory, and its sites, switches and links with what weft knows of each."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, read_json
from weft.api.routing import Operation
from weft.fabric.checks import problems_of_part
from weft.fabric.numbering import Numbering
from weft.intent.inventory import replace_inventory
from weft.model.errors import NotFound
from weft.model.ids import SwitchName
from weft.protocol.inventory import decode, encode
from weft.store import Snapshot, Store, SwitchStatus

Row = dict[str, Any]


class InventoryPages:
    """The pages of the inventory and of what it lists, except nodes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/inventory", self.show),
            Operation("PUT", "/v1/inventory", self.replace),
            Operation("GET", "/v1/sites", self.sites),
            Operation("GET", "/v1/sites/{name}", self.site),
            Operation("GET", "/v1/links", self.links),
            Operation("GET", "/v1/switches", self.switches),
            Operation("GET", "/v1/switches/{name}", self.switch),
        ]

    async def show(self, request: Request) -> Response:
        """Answer the inventory as it was written."""
        del request
        return JsonAnswer(encode(await self._store.read(Snapshot.inventory)))

    async def replace(self, request: Request) -> Response:
        """Make the body the inventory; what exists keeps its numbers."""
        inventory = decode(await read_json(request, dict[str, Any]), problems_of_part)
        numbering = await self._store.transact(lambda tx: replace_inventory(tx, inventory))
        return JsonAnswer({"revision": self._store.revision, "numbering": numbering_wire(numbering)})

    async def sites(self, request: Request) -> Response:
        """Answer all sites."""
        del request
        return JsonAnswer({"sites": await self._store.read(_table("sites"))})

    async def site(self, request: Request) -> Response:
        """Answer one site."""
        return JsonAnswer({"site": _named("site", request, await self._store.read(_table("sites")))})

    async def links(self, request: Request) -> Response:
        """Answer all links."""
        del request
        return JsonAnswer({"links": await self._store.read(_table("links"))})

    async def switches(self, request: Request) -> Response:
        """Answer all switches with their numbers and status."""
        del request
        return JsonAnswer({"switches": await self._store.read(switch_rows)})

    async def switch(self, request: Request) -> Response:
        """Answer one switch."""
        return JsonAnswer({"switch": _named("switch", request, await self._store.read(switch_rows))})


def _table(name: str) -> Callable[[Snapshot], list[Row]]:
    return lambda snapshot: list(encode(snapshot.inventory())[name])


def switch_rows(snapshot: Snapshot) -> list[Row]:
    """Return all switches with their numbers and status; no status before the controller has looked at a switch."""
    statuses = snapshot.switch_statuses()
    numbers = snapshot.numbering().switches
    rows = []
    for row in encode(snapshot.inventory())["switches"]:
        name = SwitchName(row["name"])
        row |= {"asn": numbers[name].asn, "loopback": str(numbers[name].loopback)}
        row["status"] = status_wire(statuses[name]) if name in statuses else None
        rows.append(row)
    return rows


def status_wire(status: SwitchStatus) -> Row:
    """Return a switch's status as /v1 shows it."""
    return {"state": status.state, "since": status.since, "reason": status.reason}


def numbering_wire(numbering: Numbering) -> Mapping[str, Any]:
    """Return all numbers that weft gave, by switch, link and node."""
    return {
        "switches": {
            name: {
                "asn": each.asn,
                "loopback": str(each.loopback),
                "management_gateway": None if each.gateway is None else str(each.gateway),
            }
            for name, each in numbering.switches.items()
        },
        "links": [{"a": str(each.a), "b": str(each.b), "prefix": str(each.prefix)} for each in numbering.links],
        "nodes": {
            name: {"management": str(each.address), "gateway": str(each.gateway)}
            for name, each in numbering.nodes.items()
        },
    }


def _named(noun: str, request: Request, rows: list[Row]) -> Row:
    name = request.path_params["name"]
    for row in rows:
        if row["name"] == name:
            return row
    known = ", ".join(str(row["name"]) for row in rows[:20]) or "none"
    raise NotFound(f"'{name}' is not a {noun} of the inventory; known: {known}")
