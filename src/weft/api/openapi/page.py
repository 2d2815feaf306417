"""What a page says about itself, beyond its path: what it takes, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Schema = Mapping[str, Any]

REF = "#/components/schemas/{name}"

ANY: Schema = {}
OBJECT: Schema = {"type": "object"}
TEXT: Schema = {"type": "string"}

JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one operation takes and answers. A type stands for the schema of its JSON."""

    takes: type | Schema | None = None
    """The request's body; None: it has none."""
    answers: Mapping[int, type | Schema | None] = field(default_factory=lambda: {200: ANY})
    """By status; None: the answer has no body. Errors need not stand here."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    media: str = JSON
    """Of the answers."""
    once: bool = False
    """Whether the request may be made idempotent, or be put off: see weft.api.idempotency."""
    conditional: bool = False
    """Whether If-Match may name the revision that is meant."""


def one(name: str, of: type | Schema) -> Schema:
    """Return the schema of an object with one member."""
    return {"type": "object", "required": [name], "properties": {name: of}}


def many(name: str, of: type | Schema) -> Schema:
    """Return the schema of an object with one member, which is a list."""
    return one(name, {"type": "array", "items": of})


def types_in(schema: object) -> list[type]:
    """Return the types that stand in a schema where their own schemas shall."""
    if isinstance(schema, type):
        return [schema]
    if isinstance(schema, Mapping):
        return [found for each in schema.values() for found in types_in(each)]
    if isinstance(schema, list | tuple):
        return [found for each in schema for found in types_in(each)]
    return []


def resolved(schema: object, schemas: Mapping[type, Schema]) -> Any:
    """Return a schema with every type replaced by its own schema."""
    if isinstance(schema, type):
        return schemas[schema]
    if isinstance(schema, Mapping):
        return {name: resolved(each, schemas) for name, each in schema.items()}
    if isinstance(schema, list | tuple):
        return [resolved(each, schemas) for each in schema]
    return schema


def schemas_of(types: list[type]) -> tuple[dict[type, Schema], dict[str, Schema]]:
    """Return the schema of each type, and the components that these refer to."""
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=REF)
    return dict(zip(unique, found, strict=True)), components
