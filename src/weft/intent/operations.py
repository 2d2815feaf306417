"""Operations: requests that were accepted and are worked on later, exactly once, also over restarts.

An operation's end is written in the transaction of its work: an operation that is pending has done nothing yet, and one
that is done has done everything. Servers that take up one operation at once cannot both commit, because the answer is
kept under a key that is unique in the database (see weft.intent.kept_answers).
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from weft.intent.kept_answers import KeptAnswer, bucket, keep_answer
from weft.model.errors import NotFound, Transient
from weft.store import Kind, Snapshot, Transaction

MAX_PENDING = 10_000
"""Operations that may wait; more are refused with Transient."""
MAX_FORGOTTEN_AT_ONCE = 500

_PENDING = "pending"
"""The parent of all operations that wait; that of the others is the hour in which they ended."""


class OperationState(StrEnum):
    """Where an operation stands. failed: it was refused, and has changed nothing."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The request that an operation is to make, and who made it. `body` is JSON; null: the request has none."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: msgspec.Raw
    project_id: str | None = None
    user_id: str = ""
    roles: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. Times are Unix seconds; `status` is that of the answer, 0 before there is one."""

    id: str
    asked: Asked
    project_id: str
    """Who may see it; empty: administrators."""
    state: OperationState = OperationState.PENDING
    created_at: float
    finished_at: float | None = None
    attempts: int = 0
    not_before: float = 0.0
    """When it may be tried again."""
    accepted_by: str = ""
    """The server process that has taken it on; others leave it alone for a while."""
    status: int = 0
    reason: str = ""
    """Why the last attempt did not succeed."""


def accept(tx: Transaction, asked: Asked, *, accepted_by: str) -> Operation:
    """Take on a request. Raises Transient if too many wait."""
    if tx.count_records(Kind.OPERATION, parent=_PENDING) >= MAX_PENDING:
        raise Transient(f"{MAX_PENDING} operations wait to be worked on; ask again later", retry_after_s=5.0)
    operation = Operation(
        id=tx.new_id(),
        asked=asked,
        project_id=asked.project_id or "",
        created_at=tx.clock(),
        accepted_by=accepted_by,
    )
    _put(tx, operation)
    return operation


def operation_of(snapshot: Snapshot, id_: str) -> Operation:
    """Return an operation; raise NotFound."""
    found = snapshot.record(Kind.OPERATION, Operation, id_)
    if found is None:
        raise NotFound(f"there is no operation {id_}, or it ended more than a day ago", kind="OperationNotFound")
    return found


def operations(snapshot: Snapshot, *, project_id: str | None = None) -> list[Operation]:
    """Return all operations, or those of a project, the oldest first."""
    return snapshot.records(Kind.OPERATION, Operation, project_id=project_id)


def pending_operations(snapshot: Snapshot) -> list[Operation]:
    """Return the operations that wait, the oldest first."""
    return snapshot.records(Kind.OPERATION, Operation, parent=_PENDING)


def answer_of(snapshot: Snapshot, operation: Operation) -> KeptAnswer | None:
    """Return what came of an operation; None while it is pending."""
    found = snapshot.records(Kind.KEPT_ANSWER, KeptAnswer, unique=answer_key(operation.id))
    return found[0] if found else None


def finish(tx: Transaction, operation: Operation, *, status: int, body: bytes, reason: str = "") -> Operation:
    """Write an operation's end and its answer. `reason`: why it failed, and has changed nothing.

    Raises Conflict (UniqueKeyInUse) if another server was faster.
    """
    keep_answer(tx, answer_key(operation.id), operation.id, status=status, body=body)
    ended = msgspec.structs.replace(
        operation,
        state=OperationState.FAILED if reason else OperationState.DONE,
        finished_at=tx.clock(),
        attempts=operation.attempts + 1,
        status=status,
        reason=reason,
    )
    _put(tx, ended)
    return ended


def postpone(tx: Transaction, operation: Operation, *, reason: str, until: float) -> Operation:
    """Have an operation tried again at a Unix time; the caller has seen that it is pending still."""
    later = msgspec.structs.replace(operation, attempts=operation.attempts + 1, not_before=until, reason=reason)
    _put(tx, later)
    return later


def forget_operations(tx: Transaction, hour: str) -> bool:
    """Forget operations that ended in an hour; tell whether there may be more."""
    old = tx.records(Kind.OPERATION, Operation, parent=hour)
    for operation in old[:MAX_FORGOTTEN_AT_ONCE]:
        tx.delete_record(Kind.OPERATION, operation.id)
    return len(old) > MAX_FORGOTTEN_AT_ONCE


def answer_key(operation_id: str) -> str:
    """Return the key that an operation's answer is kept under; no caller's key can look like it."""
    return f"operation {operation_id}"


def _put(tx: Transaction, operation: Operation) -> None:
    parent = _PENDING if operation.finished_at is None else bucket(operation.finished_at)
    tx.put_record(Kind.OPERATION, operation.id, operation, project_id=operation.project_id, parent=parent)
