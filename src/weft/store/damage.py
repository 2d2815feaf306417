"""A database that is found damaged while it is served: said once, and not written to any more.

What else is wrong with it nobody knows, and a write may spread it. So what can be read is read, and what would change
anything is refused, until a server starts that finds the database whole.
"""

import threading

import structlog

from weft.model.errors import Transient
from weft.store.engine import Engine

RETRY_AFTER_S = 60.0
"""What callers are told: nothing changes before somebody has restored the database."""

TODO = "see what `weft db check` finds while the server is stopped, and restore a copy or an export"
"""What somebody who reads of damage is to do."""

log = structlog.get_logger()


class Damage:
    """What this process knows of it. For any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._reason = ""

    def told_by(self, error: Exception) -> Transient | None:
        """Return what callers are told if an error means that the database is damaged; None if it does not."""
        if not self._engine.is_damage(error):
            return None
        with self._lock:
            if not self._reason:
                self._reason = " ".join(str(error).split())  # PostgreSQL's hints are lines of their own
                self._engine.remember_damage(self._reason)
                log.error("database_damaged", database=self._engine.url, reason=self._reason, todo=TODO)
        return self._refusal()

    def check(self) -> None:
        """Raise Transient (DatabaseDamaged) if the database was found damaged."""
        if self._reason:
            raise self._refusal()

    def _refusal(self) -> Transient:
        message = f"the database is damaged, and nothing is written to it: {self._reason}; {TODO}"
        return Transient(message, retry_after_s=RETRY_AFTER_S, kind="DatabaseDamaged")
