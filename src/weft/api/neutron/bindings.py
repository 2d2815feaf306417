"""The bindings of a port on single nodes: what Nova prepares, activates and deletes while it moves an instance."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.idempotency import once
from weft.api.neutron.attributes import Attribute, Level, bad_request, check_create, check_update, shown
from weft.api.neutron.listing import Rendered, marker_among, matcher, page_links, page_of, parse_query, with_fields
from weft.api.neutron.policy import Acting, View, acting_in, denied
from weft.api.neutron.ports import PORTS
from weft.api.neutron.values import dictionary, one_of, oneline
from weft.api.neutron.vifs import VNIC_TYPES, plugging, vif_type
from weft.api.routing import Operation
from weft.intent.bindings import (
    NodeBinding,
    activate_binding,
    add_binding,
    binding_on,
    bindings_of,
    change_binding,
    delete_binding,
)
from weft.model.ids import NodeName, PortId
from weft.store import PortView, Snapshot, Store, Transaction

ATTRIBUTES: Mapping[str, Attribute] = {
    "host": Attribute(oneline(255), required=True),
    "profile": Attribute(dictionary, put=True, filters=False),
    "status": shown(filters=True),
    "vif_details": shown(),
    "vif_type": shown(filters=True),
    "vnic_type": Attribute(one_of(*VNIC_TYPES), put=True),
}


def render(binding: NodeBinding) -> Rendered:
    """Return a binding as Neutron shows it."""
    return {
        "host": binding.node,
        "vif_type": vif_type(binding.owed),
        "vnic_type": binding.vnic_type,
        "status": "ACTIVE" if binding.active else "INACTIVE",
        "profile": binding.profile,
        "vif_details": plugging(binding.owed),
    }


class BindingPages:
    """The pages under /v2.0/ports/{id}/bindings; for services, and administrators."""

    def __init__(self, store: Store, project: str) -> None:
        """`project` is what administrators act for who name none."""
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations."""
        bindings = "/v2.0/ports/{id}/bindings"
        return [
            Operation("GET", bindings, self.index, Access.USER),
            Operation("POST", bindings, self.create, Access.USER),
            Operation("GET", bindings + "/{host}", self.show, Access.USER),
            Operation("PUT", bindings + "/{host}", self.update, Access.USER),
            Operation("DELETE", bindings + "/{host}", self.delete, Access.USER),
            Operation("PUT", bindings + "/{host}/activate", self.activate, Access.USER),
        ]

    async def index(self, request: Request) -> Response:
        """Answer a port's bindings, the active one first unless the query has another order, or pages."""
        acting = self._acting(request, "get")
        query = parse_query(ATTRIBUTES, request.query_params.multi_items())
        matches = matcher(ATTRIBUTES, query)
        view = await self._store.read(lambda snapshot: _port(snapshot, acting, request))
        found = [each for each in map(render, bindings_of(view)) if matches(each)]
        if query.order or query.limit is not None:
            named = [{**each, "id": each["host"]} for each in found]
            found = page_of(named, query, marker_among(named, query))
        body: dict[str, object] = {"bindings": [with_fields(each, query.fields or tuple(ATTRIBUTES)) for each in found]}
        if links := page_links(request, query, found):
            body["bindings_links"] = links
        return JsonAnswer(body)

    async def show(self, request: Request) -> Response:
        """Answer a port's binding on a node."""
        acting = self._acting(request, "get")
        view = await self._store.read(lambda snapshot: _port(snapshot, acting, request))
        return JsonAnswer({"binding": render(binding_on(view, _host(request)))})

    async def create(self, request: Request) -> Response:
        """Prepare a port for a node."""
        acting = self._acting(request, "create")
        body = await read_json(request, dict[str, object])
        values = check_create("binding", ATTRIBUTES, _binding_in(body))

        def work(tx: Transaction) -> Rendered:
            _port(tx, acting, request)
            return render(add_binding(tx, _id(request), NodeName(str(values["host"])), **_details(values)))

        return await once(self._store, request, body, work, lambda made: JsonAnswer({"binding": made}, status_code=201))

    async def update(self, request: Request) -> Response:
        """Change a port's binding on a node."""
        acting = self._acting(request, "update")
        body = await read_json(request, dict[str, object])
        values = check_update("binding", ATTRIBUTES, _binding_in(body))

        def work(tx: Transaction) -> Rendered:
            _port(tx, acting, request)
            return render(change_binding(tx, _id(request), _host(request), **_details(values)))

        return await once(self._store, request, body, work, lambda made: JsonAnswer({"binding": made}))

    async def activate(self, request: Request) -> Response:
        """Move a port to a node that it is prepared for."""
        acting = self._acting(request, "activate")

        def work(tx: Transaction) -> Rendered:
            _port(tx, acting, request)
            return render(activate_binding(tx, _id(request), _host(request)))

        return await once(self._store, request, None, work, JsonAnswer)

    async def delete(self, request: Request) -> Response:
        """Delete a port's binding on a node."""
        acting = self._acting(request, "delete")

        def work(tx: Transaction) -> None:
            _port(tx, acting, request)
            delete_binding(tx, _id(request), _host(request))

        return await once(self._store, request, None, work, lambda _: no_content())

    def _acting(self, request: Request, action: str) -> Acting:
        acting = acting_in(request, self._project)
        if acting.level(in_own_network=False) < Level.SERVICE:
            raise denied(f"rule:{action}_port_binding")
        return acting


def _port(snapshot: Snapshot, acting: Acting, request: Request) -> PortView:
    return View(PORTS, snapshot, acting).get(_id(request))


def _id(request: Request) -> PortId:
    return PortId(request.path_params["id"])


def _host(request: Request) -> NodeName:
    return NodeName(request.path_params["host"])


def _binding_in(body: Mapping[str, object]) -> object:
    if "binding" not in body:
        raise bad_request("Unable to find 'binding' in request body")
    return body["binding"]


def _details(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("vnic_type", "profile") if name in values}
