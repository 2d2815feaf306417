"""A bare writer: the rows of ports, as the store writes them, in groups, and nothing else."""

import itertools
import time
from typing import Any

from weft.store import schema as t
from weft.store.layers import Layer, Row
from weft.store.store import engine_of

GROUP = 64
SECONDS = 2.0
BODY = b'{"x":"' + b"x" * 600 + b'"}'
LIFE = b'{"x":"' + b"x" * 100 + b'"}'


def bare_rows_per_s(url: str) -> float:
    """Return how many ports a second one writer makes durable in a new database, all their rows."""
    engine = engine_of(url)
    engine.upgrade()
    connection = engine.connect()
    try:
        count, began = 0, time.perf_counter()
        for group in itertools.count():
            connection.begin_write()
            connection.write(_layer(group))
            connection.commit()
            count += GROUP
            if (seconds := time.perf_counter() - began) > SECONDS:
                return count / seconds
        raise AssertionError("time passes")
    finally:
        connection.close()
        engine.release()


def _layer(group: int) -> Layer:
    layer = Layer()
    for at in range(group * GROUP, (group + 1) * GROUP):
        id_ = f"bare-{at:031d}"
        for table, key, row in _rows(id_, at):
            layer.insert(table, key, row)
    return layer


def _rows(id_: str, at: int) -> list[tuple[Any, tuple[Any, ...], Row]]:
    address = f"{at >> 24}.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}"
    port: Row = {
        "id": id_,
        "project_id": "bare",
        "network_id": "bare",
        "name": f"vm-{at}",
        "mac": f"bare-{at}",
        "device_id": f"d-{at}",
        "state": "ALLOCATED",
        "body": BODY,
        "life": LIFE,
    }
    held: Row = {"network_id": "bare", "address": address, "subnet_id": "bare", "port_id": id_}
    told: Row = {"port_id": id_, "body": LIFE}
    change: Row = {"revision": 1_000_000_000 + at, "seq": 0, "kind": "port", "id": id_, "op": "put", "nodes": ""}
    return [
        (t.ports, (id_,), port),
        (t.fixed_ips, ("bare", address), held),
        (t.history, (id_,), told),
        (t.changes, (at, 0), change),
    ]
