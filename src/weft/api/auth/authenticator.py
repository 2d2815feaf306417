"""Tells the callers of requests: by the socket they came through, by their certificate, by their token."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from weft.api.access import ADMINISTRATOR, Caller, NodeAgent, Unauthenticated, digest
from weft.api.auth.credential import Credential, TokenSource
from weft.model.ids import NodeName

NO_AUTH_TOKEN = "notused"
"""What keystoneauth's ``auth_type: none`` sends for a token."""

MAX_TOKEN_LENGTH = 8192

CERTIFIED_NODE = "weft.certified_node"
"""Where a request's scope holds the node that the certificate of its connection names; absent if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """By what a server tells callers."""

    sources: tuple[TokenSource, ...] = ()
    certificates: bool = False
    """Whether nodes may show certificates."""
    nodes_need_certificate: bool = False
    """Whether a node's token is good only beside its certificate."""

    @property
    def trusting(self) -> bool:
        """Whether no credential is configured. Whoever has no token is an administrator then, and only loopback and
        unix sockets are listened on (see weft.api.listen)."""
        return not self.sources and not self.certificates


class Authenticator:
    """Tells callers."""

    def __init__(
        self,
        by: Authentication,
        node_by_token: Callable[[str], Awaitable[NodeName | None]],
        relayed_for: Callable[[Scope], str | None] = lambda _: None,
    ) -> None:
        """`node_by_token` finds the node whose token has a digest; `relayed_for` names the user of a request that this
        server's other processes hand on, and have decided on (None: it is no such request)."""
        self._by = by
        self._node_by_token = node_by_token
        self._relayed_for = relayed_for

    async def identify(self, scope: Scope) -> Caller:
        """Return the caller of a request; raise Unauthenticated, or Transient if that cannot be told now."""
        if _through_unix_socket(scope):
            return ADMINISTRATOR
        if (user_id := self._relayed_for(scope)) is not None:
            return replace(ADMINISTRATOR, user_id=user_id)
        certified: NodeName | None = scope.get(CERTIFIED_NODE)
        credential = credential_of(scope)
        if credential is not None:
            return self._with_certificate(await self._caller_of(credential), certified)
        if certified is not None:
            return NodeAgent(certified)
        if not self._by.trusting:
            raise Unauthenticated("this server wants a token: send it as 'Authorization: Bearer TOKEN'")
        _refuse_browsers(scope)
        return ADMINISTRATOR

    async def close(self) -> None:
        """Close what the sources have open."""
        for source in self._by.sources:
            await source.close()

    async def _caller_of(self, credential: Credential) -> Caller:
        for source in self._by.sources:
            caller = await source.caller_of(credential)
            if caller is not None:
                return caller
        node = await self._node_by_token(digest(credential.token))
        if node is None:
            # Also without any credential configured: a node's voided token must not make an administrator of it.
            raise Unauthenticated("the token is not valid, or no longer; get a new one from this server's operator")
        return NodeAgent(node)

    def _with_certificate(self, caller: Caller, certified: NodeName | None) -> Caller:
        """Return `caller`; raise Unauthenticated if it is a node whose certificate is missing or names another."""
        if isinstance(caller, NodeAgent):
            if certified is None and self._by.nodes_need_certificate:
                raise Unauthenticated(f"node '{caller.node}' must show its certificate besides its token")
            if certified is not None and certified != caller.node:
                raise Unauthenticated(f"the token is of node '{caller.node}', the certificate of node '{certified}'")
        return caller


def credential_of(scope: Scope) -> Credential | None:
    """Return the tokens of a request; None if it has none that says anything. Raise Unauthenticated for a huge one."""
    bearer = auth_token = service_token = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                bearer = token.strip()
        elif name == b"x-auth-token":
            auth_token = value.decode("latin-1").strip()
        elif name == b"x-service-token":
            service_token = value.decode("latin-1").strip()
    found = bearer or auth_token
    if not found or found == NO_AUTH_TOKEN:
        return None
    if max(len(found), len(service_token or "")) > MAX_TOKEN_LENGTH:
        raise Unauthenticated(f"a token of this server has at most {MAX_TOKEN_LENGTH} characters")
    return Credential(found, service_token or None)


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


@lru_cache(maxsize=256)
def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
