"""Which ports a list has to look at: what an index of the store can tell is asked of it, page by page."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from weft.api.neutron.listing import ListQuery, address_text
from weft.model.ids import PortId
from weft.store import PortView, Snapshot

_COLUMNS: Mapping[str, str] = {
    "fixed_ips=ip_address": "address",
    "device_id": "device_id",
    "name": "name",
    "fixed_ips=subnet_id": "subnet_id",
    "network_id": "network_id",
    "binding:host_id": "node",
    "project_id": "project_id",
    "tenant_id": "project_id",
    "mac_address": "mac",
}
"""Filters that the store looks up, those that leave the fewest ports first."""

_EMPTY_IS_NOT_STORED = {"binding:host_id", "fixed_ips=ip_address", "fixed_ips=subnet_id"}

MAX_SOURCES = 64
"""Lookups that one list makes; filters with more values are passed by what all ports of the other filters are."""


def select_ports(snapshot: Snapshot, query: ListQuery) -> Iterable[PortView]:
    """Return the ports that may pass a query's filters, ordered by id; a page of them if the query asks for one."""
    ids = query.filters.get("id")
    if ids is not None:
        found = snapshot.ports(ids=[PortId(id_) for id_ in dict.fromkeys(ids)])
        return _page(sorted(found, key=_id_of), query)
    page: dict[str, Any] = {"after_id": query.after_id, "limit": query.at_most}
    sources = _sources(snapshot, query)
    if len(sources) == 1:
        return snapshot.ports(**sources[0], **page)
    merged = {view.port.id: view for source in sources for view in snapshot.ports(**source, **page)}
    return _page(sorted(merged.values(), key=_id_of), query)


def _sources(snapshot: Snapshot, query: ListQuery) -> Sequence[Mapping[str, Any]]:
    """Return lookups that together find every port that the query may show; a port may be in several."""
    single: dict[str, Any] = {}
    several: tuple[str, Sequence[str]] | None = None
    for name, column in _COLUMNS.items():
        values = _values(query, name)
        if not values or column in single or (name in _EMPTY_IS_NOT_STORED and "" in values):
            continue
        if len(values) == 1:
            single[column] = values[0]
        elif several is None and len(values) <= MAX_SOURCES:
            several = (column, values)
    if several is not None:
        column, values = several
        return [{**single, column: value} for value in values]
    if query.seen_by is not None and not single:
        return _seen_by(snapshot, query.seen_by)
    return [single]


def _seen_by(snapshot: Snapshot, project: str) -> Sequence[Mapping[str, Any]]:
    """Return the lookups of a project's own ports, and of those that others have in its networks."""
    own = [network.id for network in snapshot.networks() if network.project_id == project]
    if len(own) > MAX_SOURCES:
        return [{}]
    return [{"project_id": project}, *({"network_id": id_} for id_ in own)]


def _values(query: ListQuery, name: str) -> Sequence[str]:
    attribute, _, key = name.partition("=")
    given = query.filters.get(attribute, ())
    if key:
        given = tuple(value.removeprefix(f"{key}=") for value in given if value.startswith(f"{key}="))
    return list(dict.fromkeys(_STORED.get(name, str)(value) for value in given))


def _mac(text: str) -> str:
    return text.lower().replace("-", ":")


_STORED: Mapping[str, Callable[[str], str]] = {"mac_address": _mac, "fixed_ips=ip_address": address_text}
"""How a filter's value is written in the store, where callers may write it otherwise."""


def _page(found: Sequence[PortView], query: ListQuery) -> Sequence[PortView]:
    after = query.after_id
    later = found if after is None else (view for view in found if view.port.id > after)
    return list(itertools.islice(later, query.at_most))


def _id_of(view: PortView) -> str:
    return view.port.id
