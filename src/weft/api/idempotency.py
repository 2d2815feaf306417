"""Requests that change something, made once: with an Idempotency-Key, or as an operation that is worked on later.

`once` takes the place of `store.transact` in a page. What a request says decides what it does:

- nothing: the work is done and answered.
- ``Idempotency-Key: KEY``: the answer is kept with the work, in its transaction; the same request is answered with it
  for a day, another request under the same key is refused (422). Keys are each caller's own.
- ``Prefer: respond-async`` (RFC 7240): the request is stored and answered 202 with the Location of its operation, which
  the OperationWorker makes through this same function.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import user_of
from weft.api.answers import JsonAnswer
from weft.intent.kept_answers import KeptAnswer, keep_answer, kept_answer, same_request
from weft.intent.operations import Asked, Operation, OperationState, accept, answer_of, finish, operation_of
from weft.model.errors import Conflict, Invalid
from weft.model.ids import PortId
from weft.store import Store, Transaction

MAX_KEY_LENGTH = 255
MAX_ATTEMPTS = 3
"""Of one request, when another of the same key commits first on another server: then its answer is there."""

RUNNING = "weft.operation"
"""Where the scope of a request that an operation makes holds the operation's id."""
ACCEPTED_BY = uuid4().hex
"""This process, among the servers of one database."""
REPLAYED = {"Idempotency-Replayed": "true"}

_ASKING = frozenset({b"idempotency-key", b"prefer"})
_KEPT_HEADERS = ("host", "if-match", "x-forwarded-proto", "x-project-id")
"""What of a request's headers its answer depends on. Never its tokens."""

Item = TypeVar("Item")
T = TypeVar("T")
Together = tuple[Callable[[Transaction, Sequence[Item]], Sequence[T]], Item]
"""What does the same for several requests, and what this one asks of it."""


async def once(
    store: Store,
    request: Request,
    body: object,
    work: Callable[[Transaction], T],
    answer: Callable[[T], Response],
    *,
    ports: Sequence[PortId] = (),
    together: Together[Item, T] | None = None,
    early: bool = False,
) -> Response:
    """Do `work` and return its `answer`; once, however often the request comes, if it asks for that.

    `body` is the request's, decoded; None for none. `ports` are those that `work` will ask for, and it may be
    `early` (Store.transact).
    `together` does what `work` does for several requests at once (Store.transact_together).
    Raises what `work` raises, and Invalid for a key that is none, or that was used for another request.
    """
    if (running := request.scope.get(RUNNING)) is not None:
        return await _insisted(lambda: store.transact(lambda tx: _end(tx, operation_of(tx, running), work, answer)))
    if not any(name in _ASKING for name, _ in request.scope["headers"]):
        if together is None:
            return answer(await _insisted(lambda: store.transact(work, ports=ports, early=early)))
        do_all, item = together
        return answer(await _insisted(lambda: store.transact_together(do_all, item, ports=ports, early=early)))

    asked = _asked(request, body) if _wants_async(request) else None

    def make(tx: Transaction) -> Response:
        return answer(work(tx)) if asked is None else _accepted(accept(tx, asked, accepted_by=ACCEPTED_BY))

    mark = _fingerprint(request, body, later=asked is not None)
    key = _key(request)
    if key is None:
        return await _insisted(lambda: store.transact(make))
    return await _insisted(lambda: store.transact(lambda tx: _keep(tx, key, mark, make)))


def shown(operation: Operation, kept: KeptAnswer | None) -> dict[str, object]:
    """Return an operation as /v1 shows it; `answer` is the body that its request would have been answered with."""
    return {
        "id": operation.id,
        "state": operation.state,
        "method": operation.asked.method,
        "path": operation.asked.path,
        "project_id": operation.project_id or None,
        "created_at": operation.created_at,
        "finished_at": operation.finished_at,
        "attempts": operation.attempts,
        "reason": operation.reason,
        "status": operation.status or None,
        "answer": kept.body if kept is not None else None,
    }


async def _insisted(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do work that claims a unique key, again if the claim is lost: then what the winner left is found."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return await attempt()
        except Conflict as conflict:
            if conflict.kind != "UniqueKeyInUse":
                raise
    return await attempt()


def _keep(tx: Transaction, key: str, fingerprint: str, make: Callable[[Transaction], Response]) -> Response:
    kept = kept_answer(tx, key, tx.clock())
    if kept is not None:
        return _replayed(same_request(kept, fingerprint))
    answer = make(tx)
    location = answer.headers.get("location")
    keep_answer(tx, key, fingerprint, status=answer.status_code, body=bytes(answer.body), location=location)
    return answer


def _end(
    tx: Transaction, operation: Operation, work: Callable[[Transaction], T], answer: Callable[[T], Response]
) -> Response:
    """Do an operation's work and write its end beside it; return what it came to if it has ended already."""
    if operation.state is not OperationState.PENDING:
        kept = answer_of(tx, operation)
        return Response(status_code=operation.status) if kept is None else _replayed(kept)
    made = answer(work(tx))
    finish(tx, operation, status=made.status_code, body=bytes(made.body))
    return made


def _replayed(kept: KeptAnswer) -> Response:
    headers = REPLAYED if kept.location is None else {**REPLAYED, "Location": kept.location}
    if not kept.content:
        return Response(status_code=kept.status, headers=headers)
    return Response(kept.content, status_code=kept.status, headers=headers, media_type="application/json")


def _accepted(operation: Operation) -> Response:
    location = f"/v1/operations/{operation.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async", "Retry-After": "1"}
    return JsonAnswer({"operation": shown(operation, None)}, status_code=202, headers=headers)


def _key(request: Request) -> str | None:
    """Return the key of a request among all callers' keys; None if it has none."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not 0 < len(given) <= MAX_KEY_LENGTH or not given.isprintable():
        raise Invalid(f"an Idempotency-Key is 1 to {MAX_KEY_LENGTH} printable characters, such as a UUID")
    user = user_of(request)
    return msgspec.json.encode([user.project_id, user.user_id, given]).decode()


def _wants_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)


def _fingerprint(request: Request, body: object, *, later: bool) -> str:
    said = [request.method, request.url.path, request.url.query, request.headers.get("x-project-id"), later, body]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def _asked(request: Request, body: object) -> Asked:
    user = user_of(request)
    return Asked(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers={name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers},
        body=msgspec.Raw(msgspec.json.encode(body)),
        project_id=user.project_id,
        user_id=user.user_id,
        roles=tuple(sorted(user.roles)),
    )
