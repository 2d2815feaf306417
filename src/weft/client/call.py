"""A call: one request to a server and how its answer is read, as a value that either client can send."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

T = TypeVar("T")

JsonObject = dict[str, Any]
Query = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One HTTP request; `decode` turns the body of a successful answer into what the caller gets."""

    method: str
    path: str
    decode: Callable[[bytes], T]
    query: Query = field(default_factory=dict)
    body: bytes | None = None


def path_of(*segments: str) -> str:
    """Return a URL path whose segments are escaped: a name with a slash stays one segment."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def json_body(value: object) -> bytes:
    """Return `value` as a JSON body."""
    return msgspec.json.encode(value)


def as_type(kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of a JSON answer of type `kind`."""
    return msgspec.json.Decoder(kind).decode


def member(name: str, kind: type[T]) -> Callable[[bytes], T]:
    """Return a decoder of a JSON answer ``{name: value}`` that returns the value, of type `kind`."""

    def decode(body: bytes) -> T:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if name not in envelope:
            raise msgspec.ValidationError(f"the answer has no '{name}'")
        return msgspec.json.decode(envelope[name], type=kind)

    return decode


def nothing(_: bytes) -> None:
    """Decode an answer whose body does not matter."""
