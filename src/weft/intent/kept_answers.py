"""Answers that are kept, so that a request which comes again is answered again and not done again.

An answer is kept in the transaction of the work that it is the answer to: either both are durable, or neither. Two
requests with one key that run at once, on whatever servers, cannot both commit: the key is unique in the database.
"""

import msgspec

from weft.model.errors import Invalid
from weft.store import Kind, Snapshot, Transaction

KEPT_S = 86_400.0
"""How long an answer is kept, at least."""
BUCKET_S = 3_600.0
"""Answers are forgotten by the hour in which they were given, so that nobody has to look through all of them."""
NULL = b"null"
MAX_FORGOTTEN_AT_ONCE = 500
"""In one transaction: the writer is shared."""
FORGOTTEN_HOURS = 24 * 30
"""How many hours beyond KEPT_S are looked at; a server that was away for longer leaves what is older."""


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the request that it was given to. `body` is JSON; null: the answer had no body."""

    id: str
    key: str
    """Unique: the caller's key with whose it is."""
    fingerprint: str
    """Of the request: another one must not use the key."""
    status: int
    body: msgspec.Raw
    location: str | None = None
    at: float

    @property
    def content(self) -> bytes:
        """The answer's body; empty if it had none."""
        return b"" if bytes(self.body) == NULL else bytes(self.body)


def kept_answer(snapshot: Snapshot, key: str, now: float) -> KeptAnswer | None:
    """Return what was answered under a key; None if nothing was, or so long ago that it is forgotten."""
    found = snapshot.records(Kind.KEPT_ANSWER, KeptAnswer, unique=key)
    return found[0] if found and found[0].at > now - KEPT_S else None


def same_request(kept: KeptAnswer, fingerprint: str) -> KeptAnswer:
    """Return a kept answer if the request is the one that it was given to; raise Invalid (IdempotencyKeyReused)."""
    if kept.fingerprint != fingerprint:
        raise Invalid(
            "the Idempotency-Key was used for another request: the same key means the same method, path and body; "
            "choose a new key for a new request",
            kind="IdempotencyKeyReused",
        )
    return kept


def keep_answer(
    tx: Transaction, key: str, fingerprint: str, *, status: int, body: bytes, location: str | None = None
) -> KeptAnswer:
    """Keep an answer under a key that has none. Raises Conflict (UniqueKeyInUse) if another request was faster."""
    for expired in tx.records(Kind.KEPT_ANSWER, KeptAnswer, unique=key):
        tx.delete_record(Kind.KEPT_ANSWER, expired.id)
    kept = KeptAnswer(
        id=tx.new_id(),
        key=key,
        fingerprint=fingerprint,
        status=status,
        body=msgspec.Raw(body or NULL),
        location=location,
        at=tx.clock(),
    )
    tx.put_record(Kind.KEPT_ANSWER, kept.id, kept, parent=bucket(kept.at), unique=key)
    return kept


def bucket(at: float) -> str:
    """Return the name of the hour of a Unix time."""
    return f"{int(at // BUCKET_S):010d}"


def expired_buckets(snapshot: Snapshot, kind: Kind, now: float) -> list[str]:
    """Return the names of the hours of which records of a kind are there that need not be kept, the newest first."""
    newest = now - KEPT_S - BUCKET_S
    hours = (bucket(newest - hour * BUCKET_S) for hour in range(FORGOTTEN_HOURS))
    return [hour for hour in hours if snapshot.count_records(kind, parent=hour)]


def forget_answers(tx: Transaction, hour: str) -> bool:
    """Forget answers of an hour; tell whether there may be more."""
    old = tx.records(Kind.KEPT_ANSWER, KeptAnswer, parent=hour)
    for kept in old[:MAX_FORGOTTEN_AT_ONCE]:
        tx.delete_record(Kind.KEPT_ANSWER, kept.id)
    return len(old) > MAX_FORGOTTEN_AT_ONCE
