"""Ports made through /v1: in a network that is named or that labels choose, and found again by their names."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, read_json
from weft.api.idempotency import once
from weft.api.native.ports import status_for
from weft.api.neutron.policy import Acting, View, acting_in
from weft.api.neutron.ports import PORTS
from weft.api.neutron.values import Refused, identifier, mac
from weft.api.routing import Operation
from weft.intent.choice import ChosenPort
from weft.intent.port_names import Selector, create_or_get, create_where, port_by_name
from weft.intent.ports import FixedIpSpec, PortSpec
from weft.model.addresses import parse_address
from weft.model.errors import Invalid, NotFound
from weft.model.ids import NetworkId, NodeName, SiteName, SubnetId
from weft.protocol.port_request import PortAnswer, PortRequest
from weft.store import PortView, Snapshot, Store, Transaction

MAX_NAME_LENGTH = 255

_ATTRIBUTES = {
    "project_id": "project_id",
    "network_id": "network_id",
    "node": "binding:host_id",
    "mac": "mac_address",
    "device_owner": "device_owner",
}
"""The fields of a PortRequest whose use Neutron's policy limits, and their names there."""


class PortRequestPages:
    """The pages on which /v1 makes ports."""

    def __init__(self, store: Store, project: str) -> None:
        """`project` owns what an administrator creates without naming an owner."""
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations; their paths are tried before that of a port's id."""
        of_project, of_network = "/v1/ports/by-name/{name}", "/v1/ports/by-name/{network_id}/{name}"
        return [
            Operation("POST", "/v1/ports", self.create, Access.USER),
            Operation("GET", of_project, self.find, Access.USER),
            Operation("PUT", of_project, self.create_or_get, Access.USER),
            Operation("GET", of_network, self.find, Access.USER),
            Operation("PUT", of_network, self.create_or_get, Access.USER),
        ]

    async def create(self, request: Request) -> Response:
        """Create a port."""
        acting = acting_in(request, self._project)
        asked = await read_json(request, PortRequest)
        spec, selector = _spec(asked, acting), _selector(asked)

        def work(tx: Transaction) -> PortAnswer:
            _check(tx, acting, asked)
            return _answer(acting, create_where(tx, spec, selector), created=True)

        return await once(self._store, request, asked, work, lambda made: JsonAnswer(made, status_code=201))

    async def create_or_get(self, request: Request) -> Response:
        """Answer the port of a name (200), making it first if there is none (201)."""
        acting = acting_in(request, self._project)
        name, network_id = _named(request)
        asked = await read_json(request, PortRequest)
        if asked.name not in ("", name):
            raise Invalid(f"the path names port '{name}', the body '{asked.name}'")
        spec = _spec(asked, acting, name=name)
        if network_id is not None and spec.network_id not in ("", network_id):
            raise Invalid(f"the path names network '{network_id}', the body '{asked.network_id}'")
        spec = msgspec.structs.replace(spec, network_id=network_id or spec.network_id)

        def work(tx: Transaction) -> PortAnswer:
            _check(tx, acting, asked, network_id)
            found = create_or_get(tx, spec, _selector(asked), in_network=network_id is not None)
            return _answer(acting, found.view, created=found.created)

        def answer(made: PortAnswer) -> Response:
            return JsonAnswer(made, status_code=201 if made.created else 200)

        return await once(self._store, request, asked, work, answer)

    async def find(self, request: Request) -> Response:
        """Answer the port of a name."""
        acting = acting_in(request, self._project)
        name, network_id = _named(request)

        def look(snapshot: Snapshot) -> PortAnswer:
            found = port_by_name(snapshot, acting.project, network_id, name)
            if found is None:
                where = f" in network {network_id}" if network_id else ""
                message = f"project '{acting.project}' has no port '{name}'{where}; PUT here makes it"
                raise NotFound(message, kind="PortNotFound")
            return _answer(acting, found, created=False)

        return JsonAnswer(await self._store.read(look))


def _named(request: Request) -> tuple[str, NetworkId | None]:
    name, network_id = request.path_params["name"], request.path_params.get("network_id")
    if not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name:
        raise Invalid(f"a port's name has 1 to {MAX_NAME_LENGTH} characters, none of them NUL")
    return name, None if network_id is None else NetworkId(_id("network_id", network_id))


def _spec(asked: PortRequest, acting: Acting, *, name: str = "") -> PortSpec:
    return PortSpec(
        project_id=asked.project_id or acting.project,
        network_id=NetworkId("" if asked.network_id is None else _id("network_id", asked.network_id)),
        name=name or asked.name,
        description=asked.description,
        tags=asked.tags,
        mac=None if asked.mac is None else _checked("mac", mac, asked.mac),
        fixed_ips=None if asked.fixed_ips is None else tuple(_wishes(asked)),
        device_id=asked.device_id,
        device_owner=asked.device_owner,
        admin_state_up=asked.admin_state_up,
        labels=asked.labels,
        node=None if asked.node is None else NodeName(asked.node),
    )


def _wishes(asked: PortRequest) -> list[FixedIpSpec]:
    return [
        FixedIpSpec(
            subnet_id=None if each.subnet_id is None else SubnetId(_id("subnet_id", each.subnet_id)),
            address=None if each.address is None else parse_address(each.address),
        )
        for each in asked.fixed_ips or ()
    ]


def _selector(asked: PortRequest) -> Selector:
    return Selector(labels=asked.network_labels, site=None if asked.site is None else SiteName(asked.site))


def _check(tx: Transaction, acting: Acting, asked: PortRequest, network_id: NetworkId | None = None) -> None:
    """Raise as Neutron's own page would for what the caller may not ask of a port, or of its network."""
    values: dict[str, Any] = {}
    for field, attribute in _ATTRIBUTES.items():
        if value := getattr(asked, field):
            values[attribute] = value
    if network_id is not None:
        values["network_id"] = network_id
    if asked.fixed_ips is not None:
        values["fixed_ips"] = tuple(_wishes(asked))
    View(PORTS, tx, acting).check_create(values)


def _answer(acting: Acting, view: PortView, *, created: bool) -> PortAnswer:
    choice = view.choice if isinstance(view, ChosenPort) else None
    return PortAnswer(port=status_for(acting.user, view), created=created, network_choice=choice)


def _id(name: str, text: str) -> str:
    return str(_checked(name, identifier, text))


def _checked(name: str, convert: Callable[[object], Any], text: str) -> Any:
    try:
        return convert(text)
    except Refused as refused:
        raise Invalid(f"{name}: {refused}") from None
