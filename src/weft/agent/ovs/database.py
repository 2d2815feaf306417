"""OVSDB: a replica of the rows the agent reads, and transactions. RFC 7047.

Own client, not the ``ovs`` package: its parser is pure Python and needs 106 ms for the first answer of a switch with
300 ports (json's C parser: 2 ms), and its IDL wants a thread or a poll loop of its own. A transaction by this client
takes 0.5 ms.
"""

from collections.abc import Callable, Sequence
from typing import Any

from weft.agent.ovs.jsonrpc import JsonRpc
from weft.agent.ovs.tables import MONITORED, Operation, Row, Tables, mapping
from weft.model.errors import Permanent, Transient

DATABASE = "Open_vSwitch"
RETRY_AFTER_S = 0.2
RETRY_AFTER_TROUBLE_S = 2.0
_TROUBLE = frozenset({"I/O error", "resources exhausted"})
"""What a transaction ends with that is right but met a full disk, say (RFC 7047, section 4.1.3)."""
OWN_PREFIX = "weft-"
"""Of the keys that only the agent itself writes: it need not be told that it has."""

_Update = dict[str, dict[str, dict[str, Row]]]


class _Replica:
    """The rows of one connection: nothing until the first answer, then every change."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Row]] | None = None
        self._early: list[_Update] = []

    def begin(self, first: _Update) -> None:
        """Take the answer that has all rows, and what overtook it."""
        self.tables = {table: {} for table in MONITORED}
        for update in (first, *self._early):
            self.take(update)

    def take(self, update: _Update) -> bool:
        """Take a change; a changed row comes whole. Tell whether it is more than labels."""
        if self.tables is None:
            self._early.append(update)
            return True
        more = False
        for table, rows in update.items():
            for id_, change in rows.items():
                new = change.get("new")
                more = more or not _is_labelled(self.tables[table].get(id_), new)
                if new is not None:
                    self.tables[table][id_] = new
                else:
                    self.tables[table].pop(id_, None)
        return more


def _is_labelled(before: Row | None, after: Row | None) -> bool:
    """Tell whether nothing but what the agent itself notes on a row is new (weft.agent.cni.cables)."""
    if before is None or after is None or before.keys() != after.keys():
        return False
    return all(
        _foreign(before[column]) == _foreign(after[column])
        if column == "external_ids"
        else before[column] == after[column]
        for column in after
    )


def _foreign(labels: Any) -> dict[str, str]:
    return {key: value for key, value in mapping(labels).items() if not key.startswith(OWN_PREFIX)}


class Database:
    """The switch's database. The replica is complete or absent, never half; it outlives the connection.

    ovsdb-server sends the changes a transaction makes before it answers the transaction, so that after `transact` the
    replica contains what was written. `on_change` is called after each change but those of the agent's own labels, and
    when the connection is lost.
    """

    def __init__(self, path: str, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._rpc: JsonRpc | None = None
        self._replica = _Replica()

    @property
    def tables(self) -> Tables | None:
        """The rows as last seen; None before the first complete answer."""
        return self._replica.tables

    @property
    def connected(self) -> bool:
        """Whether the replica follows the server now."""
        return self._rpc is not None and not self._rpc.closed

    async def connect(self) -> None:
        """Connect and read all rows anew; raise Transient if that cannot be done now."""
        if self.connected:
            return
        replica = _Replica()

        def on_notification(method: str, params: list[Any]) -> None:
            if method == "update" and replica.take(params[1]):
                self._on_change()

        rpc = await JsonRpc.connect(self._path, on_notification, self._on_change)
        requests = {table: [{"columns": columns}] for table, columns in MONITORED.items()}
        try:
            replica.begin(await rpc.call("monitor", [DATABASE, "weft", requests]))
        except BaseException:
            rpc.close()
            raise
        self._rpc, self._replica = rpc, replica
        self._on_change()

    async def transact(self, operations: Sequence[Operation]) -> None:
        """Commit all operations or none; raise Permanent naming the one that was refused, Transient if none was."""
        if self._rpc is None:
            raise Transient(f"there is no connection to {self._path}", retry_after_s=RETRY_AFTER_S)
        results = await self._rpc.call("transact", [DATABASE, *operations])
        for index, result in enumerate(results):
            if result is not None and "error" in result:
                if result["error"] in _TROUBLE:
                    reason = result.get("details") or result["error"]
                    raise Transient(f"ovsdb-server cannot write: {reason}", retry_after_s=RETRY_AFTER_TROUBLE_S)
                subject = operations[index] if index < len(operations) else "the transaction as a whole"
                raise Permanent(f"ovsdb-server refused {subject}: {result['error']}: {result.get('details', '')}")

    def close(self) -> None:
        """End the connection; the replica stays as it was."""
        if self._rpc is not None:
            self._rpc.close()
