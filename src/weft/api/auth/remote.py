"""One request to a service that knows callers: an identity provider, or Keystone."""

import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx

from weft.model.errors import Invalid, Transient

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20
RETRY_AFTER_S = 2.0


class Remote:
    """A service that is asked by HTTP. Redirects are not followed, and proxies of the environment not used."""

    def __init__(self, name: str, *, ca_file: Path | None = None, transport: httpx.AsyncBaseTransport | None = None):
        """`name` is how errors call it. Raises Invalid if `ca_file` is not a file of certificates."""
        self._name = name
        self._http = httpx.AsyncClient(
            transport=transport, verify=_authorities(ca_file), timeout=TIMEOUT_S, trust_env=False
        )

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, httpx.Headers, bytes]:
        """Return status, headers and body of the answer; raise Transient if none comes, or one beyond all bounds."""
        try:
            async with self._http.stream(method, url, headers=headers, content=body) as answer:
                found = bytearray()
                async for piece in answer.aiter_bytes():
                    found += piece
                    if len(found) > MAX_ANSWER_BYTES:
                        raise self.failure(f"answers with more than {MAX_ANSWER_BYTES} bytes")
                return answer.status_code, answer.headers, bytes(found)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.failure(f"does not answer ({error or type(error).__name__})") from error

    def failure(self, what: str) -> Transient:
        """Return the error that says what the service does wrong."""
        message = f"tokens cannot be proven now: {self._name} {what}; try again in a moment"
        return Transient(message, retry_after_s=RETRY_AFTER_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _authorities(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"cannot read the authorities of {ca_file}: {error}") from None
