"""The store: rows, a change log, and transactions that are durable when they are answered.

An object and the log entry that tells of it are committed together; revisions grow by one and are never reused;
what an allocator believes is a hint that a unique index may overrule. This package decides nothing about networks:
weft.intent does.
"""

from weft.store.changes import Change, CompactedError, Kind, Op
from weft.store.engine import Engine
from weft.store.snapshot import Snapshot
from weft.store.store import Store, open_engine
from weft.store.transaction import Transaction
from weft.store.views import PortView, SwitchState, SwitchStatus

__all__ = [
    "Change",
    "CompactedError",
    "Engine",
    "Kind",
    "Op",
    "PortView",
    "Snapshot",
    "Store",
    "SwitchState",
    "SwitchStatus",
    "Transaction",
    "open_engine",
]
