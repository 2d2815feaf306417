"""Makes the requests that were accepted as operations, and forgets old ones and old answers.

An operation is made by the page that would have answered its request, as the caller who asked; `once` ends it in the
transaction of its work (see weft.api.idempotency). So nothing is lost and nothing is done twice, wherever this process
dies: at the next start, or by another server of the same database, what is pending is taken up.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import structlog
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from weft.api.access import CALLER, Role, User
from weft.api.answers import BODY_LIMIT, INTERNAL, error_answer
from weft.api.idempotency import ACCEPTED_BY, RUNNING
from weft.api.routing import Operation as Page
from weft.api.watches import NodeWatches
from weft.intent.kept_answers import expired_buckets, forget_answers
from weft.intent.operations import (
    Operation,
    OperationState,
    finish,
    forget_operations,
    operation_of,
    pending_operations,
    postpone,
)
from weft.model.errors import Conflict, Transient, WeftError
from weft.store import Change, Kind, Store, Transaction

AT_ONCE = 16
"""Operations that one server works on at a time; they share the writer with everybody else."""
MAX_ATTEMPTS = 8
"""Of an operation that fails for passing reasons; then it has failed."""
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
SWEEP_S = 2.0
"""How often pending operations are looked for without being told of."""
TAKEOVER_S = 10.0
"""How old an operation that another server has accepted must be for this one to take it up."""
FORGET_EVERY_S = 600.0

log = structlog.get_logger()


class OperationWorker:
    """Works on operations until cancelled."""

    def __init__(self, store: Store, watches: NodeWatches, pages: Iterable[Page], clock: Callable[[], float]) -> None:
        """`pages` are those whose requests may be operations."""
        self._store = store
        self._watches = watches
        self._clock = clock
        routes = [Route(each.path, each.handler, methods=[each.method]) for each in pages if each.method != "GET"]
        self._pages = Router(routes, redirect_slashes=False, default=_gone)
        self._news = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._forgotten_at = 0.0

    async def run(self) -> None:
        """Take up what is pending, then whatever comes, until cancelled."""

        def wake(change: Change) -> None:
            if change.id not in self._running:
                self._news.set()

        takeover_s = 0.0  # at the start, whoever accepted it may be gone: perhaps it was this server
        try:
            with self._watches.following(Kind.OPERATION, wake):
                while True:
                    self._news.clear()
                    try:
                        await self.sweep(takeover_s)
                    except Exception:
                        # The next sweep begins anew: it needs nothing of this one.
                        log.exception("operations_not_read")
                    takeover_s = TAKEOVER_S
                    with suppress(TimeoutError):
                        async with asyncio.timeout(SWEEP_S):
                            await self._news.wait()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def sweep(self, takeover_s: float = TAKEOVER_S) -> None:
        """Begin to work on what is pending and not taken, as far as there is room; forget what is old."""
        now = self._clock()
        for operation in await self._store.read(pending_operations):
            if len(self._running) >= AT_ONCE:
                break
            theirs = operation.accepted_by != ACCEPTED_BY and operation.created_at > now - takeover_s
            if not theirs and operation.not_before <= now and operation.id not in self._running:
                task = asyncio.create_task(self.make(operation))
                self._running[operation.id] = task
                task.add_done_callback(partial(self._ended, operation.id))
        if now - self._forgotten_at >= FORGET_EVERY_S:
            await self._forget(now)
            self._forgotten_at = now

    def _ended(self, id_: str, task: asyncio.Task[None]) -> None:
        del task
        del self._running[id_]
        self._news.set()  # there is room again

    async def make(self, operation: Operation) -> None:
        """Make an operation's request, if it has not been made; whatever comes of it is written down."""
        try:
            try:
                answer = await self._made(operation)
            except Transient as passing:
                await self._try_later(operation, passing)
            except WeftError as error:
                await self._fail(operation, error)
            else:
                log.info("operation_done", operation=operation.id, status=answer)
        except Exception:
            # It stays pending, and a later sweep takes it up again.
            log.exception("operation_left", operation=operation.id)

    async def _made(self, operation: Operation) -> int:
        """Make an operation's request and return the status of its answer; raise what its page raises."""
        messages: list[Message] = []
        body = bytes(operation.asked.body)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        try:
            await self._pages(_scope(operation), receive, send)
        except WeftError:
            raise
        except Exception:
            log.exception("operation_failed", operation=operation.id)
            raise INTERNAL from None
        status: int = messages[0]["status"]
        return status

    async def _fail(self, operation: Operation, error: WeftError) -> None:
        answer = error_answer(error, operation.asked.path)

        def work(tx: Transaction) -> None:
            now = operation_of(tx, operation.id)
            if now.state is OperationState.PENDING:
                finish(tx, now, status=answer.status_code, body=bytes(answer.body), reason=error.message)

        log.info("operation_failed", operation=operation.id, status=answer.status_code, reason=error.message)
        with suppress(Conflict):  # another server ended it
            await self._store.transact(work)

    async def _try_later(self, operation: Operation, error: Transient) -> None:
        if operation.attempts + 1 >= MAX_ATTEMPTS:
            await self._fail(operation, error)
            return
        wait_s = max(error.retry_after_s, min(MAX_BACKOFF_S, BACKOFF_S * 2**operation.attempts))

        def work(tx: Transaction) -> None:
            now = operation_of(tx, operation.id)
            if now.state is OperationState.PENDING:
                postpone(tx, now, reason=error.message, until=tx.clock() + wait_s)

        await self._store.transact(work)

    async def _forget(self, now: float) -> None:
        for kind, forget in ((Kind.KEPT_ANSWER, forget_answers), (Kind.OPERATION, forget_operations)):
            for hour in await self._store.read(partial(expired_buckets, kind=kind, now=now)):
                while await self._store.transact(partial(forget, hour=hour)):
                    pass


def _scope(operation: Operation) -> Scope:
    asked = operation.asked
    user = User(project_id=asked.project_id, user_id=asked.user_id, roles=frozenset(map(Role, asked.roles)))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "root_path": "",
        "query_string": asked.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in asked.headers.items()],
        "client": None,
        "server": None,
        BODY_LIMIT: sys.maxsize,  # it was read within the limit when it came
        CALLER: user,
        RUNNING: operation.id,
    }


async def _gone(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse an operation whose page is no more: an older version of weft had accepted it."""
    del receive, send
    raise Conflict(f"{scope['method']} {scope['path']} is no page of this version of weft", kind="OperationUnknown")
