"""Where a server is, and what went wrong when it was asked: the edge between HTTP and weft's values and errors."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from weft.client.call import Call
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound, Permanent, Transient, WeftError

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 60.0
RETRY_AFTER_S = 1.0
"""When to try again if the server did not say."""

UNREACHABLE = "Unreachable"
"""`kind` of the Transient error that is raised when no server answers, as opposed to one that answers with an error."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Whom an https server must be, and who the client says it is. All are PEM."""

    ca_file: str | None = None
    """Authorities of the server's certificate; None: the system's."""
    certificate_file: str | None = None
    """The client's own certificate, as a node's agent has one; None: it shows none."""
    key_file: str | None = None
    """The key of that certificate; None: it stands in the same file."""

    def context(self) -> ssl.SSLContext:
        """Return what httpx verifies a server with; raise Invalid naming the file that is wrong."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"cannot read the authorities of {self.ca_file}: {error}") from None
        if self.certificate_file is not None:
            try:
                context.load_cert_chain(self.certificate_file, self.key_file)
            except (OSError, ssl.SSLError) as error:
                what = f"the certificate {self.certificate_file} with the key {self.key_file or 'in it'}"
                raise Invalid(f"cannot use {what}: {error}") from None
        return context


SYSTEM_TLS = TlsFiles()
"""The system's authorities, and no certificate."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address: ``http://HOST:PORT``, ``https://HOST:PORT`` or ``unix:/PATH``."""

    server: str
    base_url: str
    socket_path: str | None = None
    files: TlsFiles = SYSTEM_TLS

    def tls(self) -> ssl.SSLContext | bool:
        """Return how to verify the server; loading the system's authorities takes time, so only for https."""
        return self.files.context() if self.base_url.startswith("https:") else False


def parse_server(server: str, files: TlsFiles = SYSTEM_TLS) -> Endpoint:
    """Read a server's address; raise Invalid if it is none."""
    if server.startswith("unix:"):
        path = server.removeprefix("unix:")
        if not path.startswith("/"):
            raise Invalid(f"'{server}' is not a server: a socket is written unix:/absolute/path")
        return Endpoint(server, "http://weft", socket_path=path)
    parts = urlsplit(server)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise Invalid(f"'{server}' is not a server: write http://HOST:PORT, https://HOST:PORT or unix:/PATH")
    return Endpoint(server, server.rstrip("/"), files=files)


def headers(token: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    found = {"Accept": "application/json"}
    if token:
        found["Authorization"] = f"Bearer {token}"
    return found


def request_headers(call: Call[T]) -> dict[str, str]:
    """Return the headers that a call needs besides those of every request."""
    return {"Content-Type": "application/json"} if call.body is not None else {}


@contextmanager
def reaching(endpoint: Endpoint) -> Iterator[None]:
    """Turn what httpx raises when a server cannot be reached, or stops talking, into Transient."""
    try:
        yield
    except httpx.ReadTimeout:
        message = f"the weft server at {endpoint.server} was silent for too long"
        raise Transient(message, retry_after_s=RETRY_AFTER_S, kind=UNREACHABLE) from None
    except httpx.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            message = (
                f"the certificate of {endpoint.server} cannot be believed ({error}); "
                "name its authority with --ca-file or WEFT_CA_FILE, or the server as its certificate does"
            )
            raise Transient(message, retry_after_s=RETRY_AFTER_S, kind=UNREACHABLE) from error
        reason = str(error) or type(error).__name__
        message = (
            f"no weft server answers at {endpoint.server} ({reason}); start one with `weft server`, "
            "or name another with --server or WEFT_SERVER"
        )
        raise Transient(message, retry_after_s=RETRY_AFTER_S, kind=UNREACHABLE) from error


def answer_of(endpoint: Endpoint, call: Call[T], status: int, body: bytes, retry_after: str | None) -> T:
    """Return what a call asked for, or raise the error that the server answered."""
    if status >= httpx.codes.BAD_REQUEST:
        raise error_of(status, body, retry_after)
    try:
        return call.decode(body)
    except msgspec.MsgspecError as error:
        what = f"{call.method} {call.path}"
        message = f"{endpoint.server} answered {what} with something that is not weft's ({error}): is it a weft server?"
        raise Permanent(message, kind="UnexpectedAnswer") from error


def error_of(status: int, body: bytes, retry_after: str | None = None) -> WeftError:
    """Return the error of an HTTP answer; its text and kind are the server's where it sent any."""
    kind, message = _explanation(status, body)
    return said_error(status, message, kind, retry_after_s=_seconds(retry_after))


def said_error(status: int, message: str, kind: str | None, *, retry_after_s: float = RETRY_AFTER_S) -> WeftError:
    """Return the error that a server says with an HTTP status, of a request or of an item of one."""
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return Forbidden(message, kind=kind)
    if status == httpx.codes.NOT_FOUND:
        return NotFound(message, kind=kind)
    if status in {httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED}:
        return Conflict(message, kind=kind)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in {
        httpx.codes.TOO_MANY_REQUESTS,
        httpx.codes.REQUEST_TIMEOUT,
    }:
        return Transient(message, retry_after_s=retry_after_s, kind=kind)
    return Invalid(message, kind=kind)


class _NeutronError(msgspec.Struct):
    type: str
    message: str


class _NativeError(msgspec.Struct):
    kind: str
    message: str


class _ErrorBody(msgspec.Struct):
    NeutronError: _NeutronError | None = None
    error: _NativeError | None = None


def _explanation(status: int, body: bytes) -> tuple[str | None, str]:
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.MsgspecError:
        found = _ErrorBody()
    if found.NeutronError is not None:
        return found.NeutronError.type, found.NeutronError.message
    if found.error is not None:
        return found.error.kind, found.error.message
    return None, f"the server answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()


def _seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after) if retry_after else RETRY_AFTER_S
    except ValueError:  # a date (RFC 9110, section 10.2.3): the default is close enough
        return RETRY_AFTER_S
