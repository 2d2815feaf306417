"""Values to stored bytes and back: JSON, with addresses as text."""

import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from weft.model.addresses import IPAddress, IPNetwork, written_address
from weft.model.intent import HistoryEntry, LeafVlan, Network, Port, Subnet

T = TypeVar("T")

_BUILDERS: Mapping[Any, Callable[[Any], Any]] = {
    IPAddress: written_address,
    IPNetwork: ipaddress.ip_network,
    object: lambda raw: raw,
}
_encoder = msgspec.json.Encoder(enc_hook=str)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the stored form of a value."""
    return _encoder.encode(value)


def mark_of(body: bytes) -> int:
    """Return a number of 63 bits that tells a stored value from every other."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big") >> 1


def _built(wanted: type, raw: Any) -> Any:
    """Return a value of a type that JSON has none for; `object` takes whatever there is."""
    return _BUILDERS.get(wanted, wanted)(raw)


def decode(kind: type[T], body: bytes) -> T:
    """Return the value of a type."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_built)
    found: T = decoder.decode(body)
    return found


@lru_cache(maxsize=4096)
def decode_network(body: bytes) -> Network:
    """Return a network from its stored form; every port of it needs it."""
    return decode(Network, body)


def decode_history(body: bytes) -> tuple[HistoryEntry, ...]:
    """Return the entries that one piece of work added to a port's history."""
    return decode(tuple[HistoryEntry, ...], body)


@lru_cache(maxsize=4096)
def decode_subnet(body: bytes) -> Subnet:
    """Return a subnet from its stored form; every port of it needs it, and parsing addresses is slow."""
    return decode(Subnet, body)


@lru_cache(maxsize=4096)
def decode_leaf_vlan(body: bytes) -> LeafVlan:
    """Return the VLAN of a network from its stored form; every port that is bound needs it."""
    return decode(LeafVlan, body)


def decode_port(body: bytes) -> Port:
    """Return a port from its stored form."""
    return decode(Port, body)
