"""VPC peering: pairs of routers whose networks reach each other. For administrators: it concerns two tenants."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import user_of
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.routing import Operation
from weft.intent.peerings import create_peering, delete_peering, peerings
from weft.model.ids import RouterId
from weft.model.intent import Peering
from weft.store import Store


class PeeringRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/peerings: the ids of the two routers."""

    routers: tuple[RouterId, RouterId]


class PeeringPages:
    """The pages under /v1/peerings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/peerings", self.all),
            Operation("POST", "/v1/peerings", self.create),
            Operation("DELETE", "/v1/peerings/{id}", self.delete),
        ]

    async def all(self, request: Request) -> Response:
        """Answer all peerings, or those of `router_id`."""
        router_id = request.query_params.get("router_id")
        wanted = RouterId(router_id) if router_id is not None else None
        found = await self._store.read(lambda snapshot: peerings(snapshot, wanted))
        return JsonAnswer({"peerings": [_wire(each) for each in found]})

    async def create(self, request: Request) -> Response:
        """Peer two routers."""
        one, other = (await read_json(request, PeeringRequest)).routers
        project = user_of(request).project_id or ""
        made = await self._store.transact(lambda tx: create_peering(tx, one, other, project_id=project))
        return JsonAnswer({"peering": _wire(made)}, 201)

    async def delete(self, request: Request) -> Response:
        """End a peering."""
        id_ = request.path_params["id"]
        await self._store.transact(lambda tx: delete_peering(tx, id_))
        return no_content()


def _wire(peering: Peering) -> dict[str, Any]:
    return {"id": peering.id, "routers": peering.routers, "created_at": peering.created_at}
