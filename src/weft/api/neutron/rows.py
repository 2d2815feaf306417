"""What rendering and reading have in common for all resources: owner, times, tags, and names of fields."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from weft.api.neutron.attributes import bad_request
from weft.model.ids import SiteName

Values = Mapping[str, Any]
"""Converted attributes by Neutron's names."""


Row = TypeVar("Row")


class OwnedRow(Protocol):
    """A row of any resource."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def project_id(self) -> str:
        """Its owner."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def description(self) -> str:
        """What people say about it."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""

    @property
    def revision_number(self) -> int:
        """How often it was changed."""

    @property
    def created_at(self) -> float:
        """When it was made, Unix time in seconds."""

    @property
    def updated_at(self) -> float:
        """When it was changed last, Unix time in seconds."""


def render_owned(row: OwnedRow) -> dict[str, object]:
    """Return the attributes that every resource shows."""
    return {
        "id": row.id,
        "name": row.name,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "description": row.description,
        "tags": sorted(row.tags),
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
        "revision_number": row.revision_number,
    }


def timestamp(at: float) -> str:
    """Return a Unix time as Neutron writes it, in whole seconds."""
    return _written(int(at))


@lru_cache(maxsize=4096)
def _written(seconds: int) -> str:
    """Return a time that many objects of a list may share."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def renamed(values: Values, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the given attributes under the names that a spec or a change has for them."""
    return {fields[name]: value for name, value in values.items() if name in fields}


def rows_of(found: Callable[[str], Row | None], ids: Iterable[str]) -> list[Row]:
    """Return the rows of some ids, each once, in the order of ids; those that are not there are left out."""
    return [row for id_ in sorted(set(ids)) if (row := found(id_)) is not None]


def site_of(values: Values) -> SiteName | None:
    """Return the site that a request's availability_zone_hints name; None if weft shall choose."""
    hints = values.get("availability_zone_hints", ())
    if len(hints) > 1:
        raise bad_request(
            "Invalid input for availability_zone_hints. Reason: an object is in one site, not in "
            f"{len(hints)}: {', '.join(hints)}."
        )
    return SiteName(hints[0]) if hints else None
