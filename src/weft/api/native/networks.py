"""What Neutron has no word for: a network's way from the VLAN part of a site to its spine-leaf part."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, read_json
from weft.api.routing import Operation
from weft.intent.migration import Stage, migrate_network, stage_of
from weft.intent.rows import network_of
from weft.model.ids import NetworkId
from weft.model.intent import Network
from weft.store import Store


class MigrateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/networks/{id}/migrate."""

    stage: Stage


class NetworkPages:
    """The pages under /v1/networks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/networks/{id}/stage", self.stage),
            Operation("POST", "/v1/networks/{id}/migrate", self.migrate),
        ]

    async def stage(self, request: Request) -> Response:
        """Answer how far a network is on its way, and its numbers."""
        id_ = NetworkId(request.path_params["id"])
        found = await self._store.read(lambda snapshot: network_of(snapshot, id_))
        return JsonAnswer({"network": _wire(found)})

    async def migrate(self, request: Request) -> Response:
        """Take a network, and what is routed with it, to a stage."""
        id_ = NetworkId(request.path_params["id"])
        asked = await read_json(request, MigrateRequest)
        found = await self._store.transact(lambda tx: migrate_network(tx, id_, asked.stage))
        return JsonAnswer({"network": _wire(found)})


def _wire(network: Network) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "stage": stage_of(network).value,
        "vlan": network.vlan,
        "vni": network.vni,
    }
