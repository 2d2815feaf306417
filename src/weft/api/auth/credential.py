"""What a request shows to say who makes it, and what a source of callers does with it."""

from dataclasses import dataclass
from typing import Protocol

from weft.api.access import Caller


@dataclass(frozen=True, slots=True)
class Credential:
    """The tokens of a request."""

    token: str
    """``Authorization: Bearer`` or ``X-Auth-Token``."""
    service_token: str | None = None
    """``X-Service-Token``: of the service that passes on a user's request, as Nova does."""


class TokenSource(Protocol):
    """Something that knows whose tokens are whose."""

    async def caller_of(self, credential: Credential) -> Caller | None:
        """Return whose token it is, or None if it is none of this source's.

        Raise Unauthenticated if it is, but is not valid, and Transient if that cannot be told now.
        """

    async def close(self) -> None:
        """Close what the source has open."""
