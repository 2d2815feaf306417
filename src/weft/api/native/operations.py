"""Operations: what became of requests that were sent with ``Prefer: respond-async``."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access, User, user_of
from weft.api.answers import JsonAnswer
from weft.api.events import HEARTBEAT, EventStream, event
from weft.api.idempotency import shown
from weft.api.routing import Operation as Page
from weft.api.watches import NodeWatches
from weft.intent.operations import Operation, OperationState, answer_of, operation_of, operations
from weft.model.errors import Invalid, NotFound
from weft.protocol.node import HEARTBEAT_S
from weft.store import Change, Kind, Snapshot, Store

Row = dict[str, object]

MAX_LISTED = 1000
"""Operations in one answer: the newest."""


class OperationPages:
    """The pages under /v1/operations."""

    def __init__(
        self, store: Store, watches: NodeWatches, stopping: asyncio.Event, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._store = store
        self._watches = watches
        self._stopping = stopping
        self._heartbeat_s = heartbeat_s

    def operations(self) -> list[Page]:
        """Return the operations."""
        return [
            Page("GET", "/v1/operations", self.index, Access.USER),
            Page("GET", "/v1/operations/{id}", self.show, Access.USER),
            Page("GET", "/v1/operations/{id}/watch", self.watch, Access.USER),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the caller's operations without their answers, the newest first; `state` chooses among them."""
        user, state = user_of(request), request.query_params.get("state")
        if state is not None and state not in set(OperationState):
            raise Invalid(f"'{state}' is no state of an operation; possible: {', '.join(OperationState)}")

        def collect(snapshot: Snapshot) -> list[Row]:
            found = operations(snapshot, project_id=None if user.is_admin else user.project_id)
            wanted = [each for each in reversed(found) if state in (None, each.state)]
            return [shown(each, None) for each in wanted[:MAX_LISTED]]

        return JsonAnswer({"operations": await self._store.read(collect)})

    async def show(self, request: Request) -> Response:
        """Answer one operation, with its answer once it has ended."""
        user, id_ = user_of(request), request.path_params["id"]
        found = await self._store.read(lambda snapshot: _row(snapshot, user, id_))
        pending = found["state"] == OperationState.PENDING
        return JsonAnswer({"operation": found}, headers={"Retry-After": "1"} if pending else None)

    async def watch(self, request: Request) -> Response:
        """Answer a stream that tells of the operation now, and whenever it changes, until it has ended."""
        user, id_ = user_of(request), request.path_params["id"]
        await self._store.read(lambda snapshot: _row(snapshot, user, id_))
        return EventStream(self._events(user, id_), [self._stopping])

    async def _events(self, user: User, id_: str) -> AsyncGenerator[bytes, None]:
        changed = asyncio.Event()

        def note(change: Change) -> None:
            if change.id == id_:
                changed.set()

        with self._watches.following(Kind.OPERATION, note):
            while True:
                changed.clear()
                row = await self._store.read(lambda snapshot: _row(snapshot, user, id_))
                yield event("operation", row)
                if row["state"] != OperationState.PENDING:
                    return
                while not changed.is_set():
                    try:
                        async with asyncio.timeout(self._heartbeat_s):
                            await changed.wait()
                    except TimeoutError:
                        yield HEARTBEAT


def _row(snapshot: Snapshot, user: User, id_: str) -> Row:
    operation = operation_of(snapshot, id_)
    if not _may_see(user, operation):
        raise NotFound(f"there is no operation {id_}, or it ended more than a day ago", kind="OperationNotFound")
    return shown(operation, answer_of(snapshot, operation))


def _may_see(user: User, operation: Operation) -> bool:
    return user.is_admin or operation.project_id == user.project_id
