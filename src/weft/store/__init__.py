"""The store: rows, a change log, and transactions that are durable when they are answered.

An object and the log entry that tells of it are committed together; revisions grow by one and are never reused;
what an allocator believes is a hint that a unique index may overrule. This package decides nothing about networks:
weft.intent does.
"""

from weft.store.changes import Change, CompactedError, Kind
from weft.store.snapshot import PortView, Snapshot, SwitchStatus
from weft.store.sqlite import Store
from weft.store.transaction import Transaction

__all__ = ["Change", "CompactedError", "Kind", "PortView", "Snapshot", "Store", "SwitchStatus", "Transaction"]
