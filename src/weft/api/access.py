"""Who is calling, and what they may do.

Administrators may do everything, users what their roles allow in their project, a node's agent its own node's pages.
"""

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from starlette.requests import Request
from starlette.types import Scope

from weft.model.errors import Forbidden
from weft.model.ids import NodeName

TOKEN_BYTES = 32
TOKEN_LENGTH = 43
"""Characters of a token that new_token makes."""


class Role(StrEnum):
    """What a caller may do, by the names that Keystone and tokens give it."""

    ADMIN = "admin"
    """Everything, in every project."""
    MEMBER = "member"
    """See and change what its project owns."""
    READER = "reader"
    """See what its project owns."""
    SERVICE = "service"
    """Another service, such as Nova: may also bind ports."""
    NODE = "node"
    """The agent of one node. Who has it is a NodeAgent, never a User."""


_WRITERS = frozenset({Role.ADMIN, Role.MEMBER, Role.SERVICE})


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a program that acts for a project."""

    project_id: str | None
    """None: of no project; only administrators may be."""
    user_id: str = ""
    """As logs and limits name it."""
    roles: frozenset[Role]

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything."""
        return Role.ADMIN in self.roles

    @property
    def is_service(self) -> bool:
        """Whether it may do what other services do, such as to bind ports; administrators may."""
        return self.is_admin or Role.SERVICE in self.roles

    @property
    def may_write(self) -> bool:
        """Whether it may change anything at all."""
        return not _WRITERS.isdisjoint(self.roles)


@dataclass(frozen=True, slots=True)
class NodeAgent:
    """The agent of one node: may see and report what concerns this node."""

    node: NodeName


Caller = User | NodeAgent

ADMINISTRATOR = User(project_id=None, roles=frozenset({Role.ADMIN}))
"""Whoever comes through the unix socket, or where no credential is configured."""

CALLER = "weft.caller"
"""Where a request's scope holds its Caller."""


class Access(Enum):
    """Who may call an endpoint."""

    PUBLIC = auto()
    USER = auto()
    """Every user: readers with methods that change nothing, all others with any. What a project may see and change is
    the page's own rule."""
    SERVICE = auto()
    """Other services, such as Nova, and administrators."""
    ADMINISTRATOR = auto()
    OWN_NODE = auto()
    """Administrators, and the agent of the node that the path names as ``{node}``."""


def caller_of(request: Request) -> Caller:
    """Return who makes a request; for any endpoint but a PUBLIC one."""
    caller: Caller = request.scope[CALLER]
    return caller


def user_of(request: Request) -> User:
    """Return who makes a request, for an endpoint of Access.USER, SERVICE or ADMINISTRATOR."""
    caller = caller_of(request)
    if isinstance(caller, NodeAgent):
        raise _own_pages_only(caller)
    return caller


class Unauthenticated(Forbidden):
    """The request carries no token, or one that is not, or no longer, valid."""

    default_kind = "Unauthorized"


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """Return what is stored of a token. Tokens are random and long, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


def authorize(caller: Caller, access: Access, scope: Scope) -> None:
    """Raise Forbidden if `caller` may not do what needs `access` on the path of `scope`."""
    if isinstance(caller, NodeAgent):
        if access is not Access.OWN_NODE or scope["path_params"]["node"] != caller.node:
            raise _own_pages_only(caller)
    elif not caller.is_admin:
        _authorize_user(caller, access, scope)


def _authorize_user(user: User, access: Access, scope: Scope) -> None:
    asked = f"{scope['method']} {scope['path']}"
    if access is Access.SERVICE and not user.is_service:
        raise _denied(
            f"{scope['method']} {scope['path']} is for services and administrators (role 'service' or 'admin')"
        )
    if access not in (Access.USER, Access.SERVICE):
        raise _denied(f"{scope['method']} {scope['path']} is for administrators (role 'admin')")
    if user.project_id is None:
        raise _denied("the token is of no project: ask for one that is scoped to a project")
    if not user.roles:
        roles = ", ".join(f"'{role}'" for role in Role if role is not Role.NODE)
        raise _denied(f"the token carries none of the roles {roles} in project '{user.project_id}'")
    if scope["method"] not in _READING and not user.may_write:
        raise _denied(f"{asked} changes something, and role 'reader' only looks")


_READING = frozenset({"GET", "HEAD"})


def _denied(message: str) -> Forbidden:
    return Forbidden(message, kind="PolicyNotAuthorized")


def _own_pages_only(caller: NodeAgent) -> Forbidden:
    return Forbidden(f"the credential of node '{caller.node}' is good for /v1/nodes/{caller.node} only")
