"""Ports as people and programs follow them: state, bindings, realizations, history; bind and unbind."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access, User, user_of
from weft.api.answers import JsonAnswer, read_json
from weft.api.routing import Operation
from weft.intent.ports import bind_port, unbind_port
from weft.model.errors import Invalid, NotFound
from weft.model.ids import Epoch, NetworkId, NodeName, PortId
from weft.model.intent import HistoryEntry
from weft.protocol.port import AddressStatus, BindingStatus, HistoryStep, PortStatus, RealizationStatus
from weft.store import PortView, Snapshot, Store, Transaction


class BindRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/ports/{id}/bind."""

    node: str
    supersede: bool = False
    """Drop other bindings at once instead of refusing."""
    expected_epoch: int | None = None
    """Bind only if this is the port's present epoch."""


class PortPages:
    """The pages under /v1/ports."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/v1/ports", self.index, Access.USER),
            Operation("GET", "/v1/ports/{id}", self.show, Access.USER),
            Operation("GET", "/v1/ports/{id}/history", self.history, Access.SERVICE),
            Operation("POST", "/v1/ports/{id}/bind", self.bind, Access.SERVICE),
            Operation("POST", "/v1/ports/{id}/unbind", self.unbind, Access.SERVICE),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the ports that pass the query's filters."""
        filters = dict(request.query_params)
        unknown = filters.keys() - _FILTERS
        if unknown:
            raise Invalid(f"'{min(unknown)}' is no filter of ports; possible: {', '.join(sorted(_FILTERS))}")
        network_id, node = filters.get("network_id"), filters.get("node")
        state = filters.get("state")
        user, project = user_of(request), filters.get("project_id")
        if not user.is_service:
            if project not in (None, user.project_id):
                return JsonAnswer({"ports": []})  # another project's, of which this one knows nothing
            project = user.project_id

        def collect(snapshot: Snapshot) -> list[PortStatus]:
            found = snapshot.ports(
                network_id=None if network_id is None else NetworkId(network_id),
                node=None if node is None else NodeName(node),
                device_id=filters.get("device_id"),
                name=filters.get("name"),
                project_id=project,
            )
            return [status_for(user, view) for view in found if state in (None, view.life.state)]

        return JsonAnswer({"ports": await self._store.read(collect)})

    async def show(self, request: Request) -> Response:
        """Answer one port."""
        id_, user = PortId(request.path_params["id"]), user_of(request)

        def find(snapshot: Snapshot) -> PortStatus:
            found = _existing(snapshot, id_)
            if not user.is_service and found.port.project_id != user.project_id:
                raise _no_port(id_)
            return status_for(user, found)

        return JsonAnswer({"port": await self._store.read(find)})

    async def history(self, request: Request) -> Response:
        """Answer what happened to a port, the oldest step first."""
        id_ = PortId(request.path_params["id"])

        def collect(snapshot: Snapshot) -> list[HistoryStep]:
            _existing(snapshot, id_)
            return [history_step(entry) for entry in snapshot.history(id_)]

        return JsonAnswer({"history": await self._store.read(collect)})

    async def bind(self, request: Request) -> Response:
        """Bind a port to a node, or move it there."""
        id_ = PortId(request.path_params["id"])
        asked = await read_json(request, BindRequest)
        expected = None if asked.expected_epoch is None else Epoch(asked.expected_epoch)

        def work(tx: Transaction) -> PortStatus:
            bound = bind_port(tx, id_, NodeName(asked.node), supersede=asked.supersede, expected_epoch=expected)
            return port_status(bound)

        return JsonAnswer({"port": await self._store.transact(work)})

    async def unbind(self, request: Request) -> Response:
        """Take a port off its node; it keeps its addresses."""
        id_ = PortId(request.path_params["id"])
        return JsonAnswer({"port": await self._store.transact(lambda tx: port_status(unbind_port(tx, id_)))})


_FILTERS = frozenset({"network_id", "node", "device_id", "name", "project_id", "state"})


def _existing(snapshot: Snapshot, id_: PortId) -> PortView:
    found = snapshot.port(id_)
    if found is None:
        raise _no_port(id_)
    return found


def _no_port(id_: PortId) -> NotFound:
    return NotFound(f"there is no port {id_}", kind="PortNotFound")


def status_for(user: User, view: PortView) -> PortStatus:
    """Return a port as `user` may know it: where it is bound is for services and administrators, as in Neutron."""
    status = port_status(view)
    if user.is_service:
        return status
    return msgspec.structs.replace(status, reason="", bindings=(), realizations=())


def port_status(view: PortView) -> PortStatus:
    """Return a port as /v1 shows it."""
    port, life = view.port, view.life
    return PortStatus(
        id=port.id,
        name=port.name,
        project_id=port.project_id,
        network_id=port.network_id,
        mac=port.mac,
        fixed_ips=tuple(AddressStatus(subnet_id=each.subnet_id, address=str(each.address)) for each in port.fixed_ips),
        device_id=port.device_id,
        device_owner=port.device_owner,
        admin_state_up=port.admin_state_up,
        labels=port.labels,
        state=life.state,
        since=life.since,
        reason=life.reason,
        epoch=life.epoch,
        bindings=tuple(
            BindingStatus(
                node=each.node,
                epoch=each.epoch,
                owed=tuple(sorted(each.owed)),
                draining=each.draining,
                vnic_type=each.vnic_type,
            )
            for each in life.bindings
        ),
        realizations=tuple(
            RealizationStatus(
                epoch=each.epoch, realizer=each.realizer, state=each.state, reason=each.reason, at=each.at
            )
            for each in life.realizations
        ),
    )


def history_step(entry: HistoryEntry) -> HistoryStep:
    """Return one step as /v1 shows it."""
    return HistoryStep(
        at=entry.at,
        actor=entry.actor,
        step=entry.step,
        epoch=entry.epoch,
        before=entry.before,
        after=entry.after,
        detail=entry.detail,
    )
