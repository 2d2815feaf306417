"""Routers, and their interfaces to subnets."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, read_json
from weft.api.neutron.attributes import (
    STATE_UP,
    Attribute,
    Level,
    bad_request,
    invalid_input,
    owned_attributes,
    project_of,
    shown,
)
from weft.api.neutron.gateways import check_gateway_named, gateway_info, render_gateway, who_sets_gateway
from weft.api.neutron.listing import ListQuery, Rendered
from weft.api.neutron.policy import Acting, View, acting_in
from weft.api.neutron.ports import PORTS
from weft.api.neutron.resource import Resource
from weft.api.neutron.rows import Values, renamed, render_owned, rows_of, site_of
from weft.api.neutron.subnets import SUBNETS
from weft.api.neutron.values import Refused, identifier, only, strings
from weft.api.routing import Operation
from weft.intent.gateways import set_gateway
from weft.intent.routers import (
    RouterChanges,
    RouterSpec,
    add_interface,
    create_router,
    delete_router,
    remove_interface,
    update_router,
)
from weft.model.errors import Invalid
from weft.model.ids import PortId, RouterId, SubnetId
from weft.model.intent import Router, RouterInterface
from weft.store import Snapshot, Store, Transaction

_FOR_ADMINISTRATORS = Attribute(
    only(False),
    put=True,
    filters=False,
    sorts=False,
    shown_to=Level.ADMINISTRATOR,
    set_by=Level.ADMINISTRATOR,
    default=False,
)

ATTRIBUTES = {
    **owned_attributes(),
    "admin_state_up": STATE_UP,
    "availability_zone_hints": Attribute(strings(255), filters=False, sorts=False),
    "availability_zones": shown(),
    "distributed": _FOR_ADMINISTRATORS,
    "external_gateway_info": Attribute(gateway_info, put=True, filters=False, sorts=False, set_by=who_sets_gateway),
    "flavor_id": Attribute(only(None), filters=False),
    "ha": _FOR_ADMINISTRATORS,
    "routes": Attribute(only([]), put=True, filters=False, sorts=False),
    "status": shown(filters=True, sorts=True),
}

_FIELDS = {"name": "name", "description": "description", "tags": "tags", "admin_state_up": "admin_state_up"}


def _create(tx: Transaction, values: Values, project: str) -> Router:
    spec = RouterSpec(
        project_id=project_of(values, project),
        site=site_of(values),
        zone_hints=tuple(values.get("availability_zone_hints", ())),
        **renamed(values, _FIELDS),
    )
    return _with_gateway(tx, create_router(tx, spec), values)


def _update(tx: Transaction, id_: str, values: Values) -> Router:
    router = update_router(tx, RouterId(id_), RouterChanges(**renamed(values, _FIELDS)))
    return _with_gateway(tx, router, values)


def _with_gateway(tx: Transaction, router: Router, values: Values) -> Router:
    if "external_gateway_info" not in values:
        return router
    return set_gateway(tx, router, values["external_gateway_info"])


def _select(snapshot: Snapshot, query: ListQuery) -> Iterable[Router]:
    if (ids := query.filters.get("id")) is not None:
        return rows_of(lambda id_: snapshot.router(RouterId(id_)), ids)
    return snapshot.routers()


def renderer(snapshot: Snapshot) -> Callable[[Router], Rendered]:
    """Return what shows routers of a snapshot."""
    return lambda router: render(router, render_gateway(snapshot, router))


def render(router: Router, gateway: Rendered | None) -> Rendered:
    """Return a router as Neutron shows it."""
    return {
        **render_owned(router),
        "admin_state_up": router.admin_state_up,
        "status": "ACTIVE",
        "availability_zone_hints": list(router.zone_hints),
        "availability_zones": [router.site],
        "distributed": False,
        "external_gateway_info": gateway,
        "flavor_id": None,
        "ha": False,
        "routes": [],
    }


ROUTERS = Resource(
    name="router",
    collection="routers",
    noun="Router",
    attributes=ATTRIBUTES,
    find=lambda snapshot, id_: snapshot.router(RouterId(id_)),
    select=_select,
    renderer=renderer,
    owned=lambda row: row,
    create=_create,
    update=_update,
    delete=lambda tx, id_: delete_router(tx, RouterId(id_)),
    check_named=check_gateway_named,
)


class RouterInterfacePages:
    """Attaching and detaching subnets."""

    def __init__(self, store: Store, project: str) -> None:
        """`project` is what administrators act for who name none."""
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations."""
        path = "/v2.0/routers/{id}"
        return [
            Operation("PUT", f"{path}/add_router_interface", self.add, Access.USER),
            Operation("PUT", f"{path}/remove_router_interface", self.remove, Access.USER),
        ]

    async def add(self, request: Request) -> Response:
        """Attach a subnet."""
        return await self._change(request, "add_router_interface", add_interface)

    async def remove(self, request: Request) -> Response:
        """Detach a subnet."""
        return await self._change(request, "remove_router_interface", remove_interface)

    async def _change(self, request: Request, action: str, change: Callable[..., RouterInterface]) -> Response:
        router_id = RouterId(request.path_params["id"])
        acting = acting_in(request, self._project)
        named = _named_interface(await read_json(request, dict[str, object]))

        def work(tx: Transaction) -> Mapping[str, Any]:
            view = View(ROUTERS, tx, acting)
            router = view.get(router_id)
            view.require(router, action)
            _require_visible(tx, acting, named)
            interface = change(tx, router_id, **named)
            return {
                "id": router_id,
                "project_id": router.project_id,
                "port_id": interface.port_id,
                "network_id": interface.network_id,
                "subnet_id": interface.subnet_id,
                "subnet_ids": [interface.subnet_id],
            }

        return JsonAnswer(await self._store.transact(work))


def _require_visible(tx: Transaction, acting: Acting, named: Mapping[str, str]) -> None:
    """Raise NotFound for a subnet or a port that the caller may not see."""
    if "subnet_id" in named:
        View(SUBNETS, tx, acting).get(named["subnet_id"])
    if "port_id" in named:
        View(PORTS, tx, acting).get(named["port_id"])


def _named_interface(body: Mapping[str, object]) -> Mapping[str, SubnetId | PortId]:
    """Return what a body names: a subnet or a port, by id."""
    unknown = body.keys() - {"subnet_id", "port_id"}
    if unknown:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'")
    if not body:
        raise Invalid("Bad router request: Either subnet_id or port_id must be specified.")
    found: dict[str, SubnetId | PortId] = {}
    for name, value in body.items():
        try:
            text = identifier(value)
        except Refused as refused:
            raise invalid_input(name, str(refused)) from None
        found[name] = SubnetId(text) if name == "subnet_id" else PortId(text)
    return found
