"""Who is calling, and what they may do: administrators everything, a node's agent its own node's pages."""

import hashlib
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from starlette.types import Scope

from weft.model.errors import Forbidden
from weft.model.ids import NodeName

TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Administrator:
    """May do everything."""


@dataclass(frozen=True, slots=True)
class NodeAgent:
    """The agent of one node: may see and report what concerns this node."""

    node: NodeName


Caller = Administrator | NodeAgent

ADMINISTRATOR = Administrator()


class Access(Enum):
    """Who may call an endpoint."""

    PUBLIC = auto()
    ADMINISTRATOR = auto()
    OWN_NODE = auto()
    """Administrators, and the agent of the node that the path names as ``{node}``."""


class Unauthenticated(Forbidden):
    """The request carries no token, or one that is not, or no longer, valid."""

    default_kind = "Unauthorized"


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """Return what is stored of a token. Tokens are random and long, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


class Authenticator:
    """Tells callers by their token, or by the socket they came through."""

    def __init__(self, admin_tokens: Iterable[str], node_by_token: Callable[[str], Awaitable[NodeName | None]]) -> None:
        """`node_by_token` finds the node whose token has a digest; no `admin_tokens`: whoever has no token is trusted,
        because only loopback and unix sockets are listened on (see weft.api.listen)."""
        self._admin_digests = frozenset(map(digest, admin_tokens))
        self._node_by_token = node_by_token

    async def identify(self, scope: Scope) -> Caller:
        """Return the caller of a request; raise Unauthenticated."""
        if _through_unix_socket(scope):
            return ADMINISTRATOR
        token = _token(scope)
        if token is None:
            if self._admin_digests:
                raise Unauthenticated("this server wants a token: send it as 'Authorization: Bearer TOKEN'")
            _refuse_browsers(scope)
            return ADMINISTRATOR
        found = digest(token)
        if found in self._admin_digests:
            return ADMINISTRATOR
        node = await self._node_by_token(found)
        if node is None:
            # Also without any credential configured: a node's voided token must not make an administrator of it.
            raise Unauthenticated("the token is not valid, or no longer; get a new one from this server's operator")
        return NodeAgent(node)


def authorize(caller: Caller, access: Access, scope: Scope) -> None:
    """Raise Forbidden if `caller` may not do what needs `access` on the path of `scope`."""
    if access is Access.PUBLIC or isinstance(caller, Administrator):
        return
    if access is Access.OWN_NODE and scope["path_params"]["node"] == caller.node:
        return
    raise Forbidden(f"the token of node '{caller.node}' is good for /v1/nodes/{caller.node} only")


def _through_unix_socket(scope: Scope) -> bool:
    # ASGI gives a unix socket's server address as (path, None); its file's mode decided who could connect.
    # No host begins with a slash, and the server's own address is nothing that a client can choose.
    server = scope.get("server")
    return server is not None and server[1] is None and str(server[0]).startswith("/")


def _refuse_browsers(scope: Scope) -> None:
    """Raise Unauthenticated if the request is made by a web page, of any site, that an administrator looks at.

    Where no token is asked for, that would be enough to command this server. A page's request names the page's origin,
    or, if its site's name was made to lead here (DNS rebinding), the site as its host.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    if b"origin" in headers or not _names_this_machine(host):
        raise Unauthenticated(
            f"a request for host '{host}' from a web page or by a name needs a token, and this server has none: "
            "start it with --token-file, or name it by its address"
        )


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _token(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and token:
                return str(token.strip())
        elif name == b"x-auth-token" and value:
            return str(value.decode("latin-1"))
    return None
