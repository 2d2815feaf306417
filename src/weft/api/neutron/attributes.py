"""Attribute tables, and the checks that every request's body passes: in Neutron's order, with Neutron's texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from weft.api.neutron.values import Converter, Refused, boolean, identifier, integer, string
from weft.model.errors import Invalid

Body = Mapping[str, object]

MAX_REASON_LENGTH = 500
"""A reason repeats the value it refuses, and that may be as long as a body."""


class Level(IntEnum):
    """What a caller is to an object; each may do what those before it may."""

    PROJECT = 0
    """Of the project that owns it."""
    NETWORK_OWNER = 1
    """Of the project that owns the network that it is in."""
    SERVICE = 2
    """Another service, such as Nova."""
    ADMINISTRATOR = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a request may do with one attribute, and whose. No `convert`: it is only shown."""

    convert: Converter | None = None
    put: bool = False
    required: bool = False
    filters: bool = True
    """May stand in a list's query."""
    filter_as: Converter | None = None
    """Converts a filter's value, where `convert` is not there or does not take all that may be looked for."""
    matched: bool = True
    """Whether a filter's values are compared with what is shown; if not, the resource's `select` heeds them."""
    sorts: bool = True
    shown_to: Level = Level.PROJECT
    set_by: Level | Callable[[object], Level] = Level.PROJECT
    """Who may give it; a function tells that of a converted value."""
    default: object = None
    """What anybody may give at creation, because it is had anyway."""


def shown(
    *, filters: bool = False, sorts: bool = False, to: Level = Level.PROJECT, filter_as: Converter | None = None
) -> Attribute:
    """Return an attribute that is shown and never given."""
    return Attribute(filters=filters or filter_as is not None, sorts=sorts, shown_to=to, filter_as=filter_as)


def owned_attributes() -> dict[str, Attribute]:
    """Return the attributes that every resource has."""
    return {
        "id": shown(filters=True, sorts=True),
        "name": Attribute(string(255), put=True),
        "description": Attribute(string(255), put=True, sorts=False),
        "project_id": Attribute(string(255)),
        "tenant_id": Attribute(string(255)),
        "tags": shown(filters=True),
        "revision_number": shown(filters=True),
        "created_at": shown(),
        "updated_at": shown(),
    }


STATE_UP = Attribute(boolean, put=True)
NETWORK_ID = Attribute(identifier, required=True)
SEGMENTATION_ID = Attribute(integer(1, (1 << 24) - 1), sorts=False)


def check_create(resource: str, table: Mapping[str, Attribute], body: object) -> dict[str, object]:
    """Return the converted attributes of an object to be created; raise Invalid as Neutron would."""
    given = _object(resource, table, body)
    for name, attribute in table.items():
        if attribute.required and name not in given:
            raise bad_request(f"Failed to parse request. Required attribute '{name}' not specified")
    for name in given:
        if table[name].convert is None:
            raise bad_request(f"Attribute '{name}' not allowed in POST")
    return _converted(table, given)


def check_update(resource: str, table: Mapping[str, Attribute], body: object) -> dict[str, object]:
    """Return the converted attributes to be changed; raise Invalid as Neutron would."""
    given = _object(resource, table, body)
    for name in given:
        if not table[name].put:
            raise bad_request(f"Cannot update read-only attribute {name}")
    return _converted(table, given)


def project_of(values: Mapping[str, object], default: str) -> str:
    """Return the owner that a request names, as project_id or as tenant_id."""
    project, tenant = values.get("project_id"), values.get("tenant_id")
    if project is not None and tenant is not None and project != tenant:
        raise bad_request("'project_id' and 'tenant_id' do not match")
    return str(project or tenant or default)


def bad_request(message: str) -> Invalid:
    """Return the error that Neutron calls HTTPBadRequest."""
    return Invalid(message, kind="HTTPBadRequest")


def invalid_input(name: str, reason: str) -> Invalid:
    """Return the error for a value that an attribute cannot have."""
    return bad_request(f"Invalid input for {name}. Reason: {reason[:MAX_REASON_LENGTH]}.")


def _object(resource: str, table: Mapping[str, Attribute], body: object) -> dict[str, object]:
    if not isinstance(body, dict):
        raise bad_request(f"Object '{resource}' contains invalid data")
    unknown = [name for name in body if name not in table]
    if unknown:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    return body


def _converted(table: Mapping[str, Attribute], given: dict[str, object]) -> dict[str, object]:
    values = {}
    for name, value in given.items():
        convert = table[name].convert
        assert convert is not None
        try:
            values[name] = convert(value)
        except Refused as refused:
            raise invalid_input(name, str(refused)) from None
    return values
