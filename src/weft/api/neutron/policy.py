"""Who sees which objects and attributes, and who may change them, as Neutron's policy has it by default.

A project sees what it owns, what lies in its networks, and what others share with it; services see everything, and
administrators may do everything. What a caller may not see does not exist for it (404); what it sees and may not
change is refused (403), in Neutron's words.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from starlette.requests import Request

from weft.api.access import User, user_of
from weft.api.answers import header
from weft.api.neutron.attributes import Attribute, Level, bad_request
from weft.api.neutron.listing import Rendered
from weft.api.neutron.rows import Values
from weft.intent.visibility import network_visible
from weft.model.errors import Forbidden, NotFound
from weft.model.ids import NetworkId
from weft.model.intent import Network
from weft.store import Snapshot

if TYPE_CHECKING:
    from weft.api.neutron.resource import Resource

MAX_PROJECT_LENGTH = 255

T = TypeVar("T")
Showing = Callable[[], list[Rendered]]
"""Shows what was made or changed, when it is called."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Who makes a request, and the project that it makes it for."""

    user: User
    project: str
    """Owns what the request creates without naming an owner."""

    @property
    def seen_by(self) -> str | None:
        """The project that limits what is seen; None: nothing does."""
        return None if self.user.is_service else self.project

    def level(self, *, in_own_network: bool) -> Level:
        """Return what the caller is to an object that it may change."""
        if self.user.is_admin:
            return Level.ADMINISTRATOR
        if self.user.is_service:
            return Level.SERVICE
        return Level.NETWORK_OWNER if in_own_network else Level.PROJECT


def acting_in(request: Request, default_project: str) -> Acting:
    """Return who makes a request and for which project; administrators name one with the header X-Project-Id."""
    user = user_of(request)
    if not user.is_admin:
        assert user.project_id is not None, "a user of no project was refused before"
        return Acting(user, user.project_id)
    named = header(request.scope, b"x-project-id")
    if named is not None and len(named) > MAX_PROJECT_LENGTH:
        raise bad_request(f"the header X-Project-Id is longer than {MAX_PROJECT_LENGTH} characters")
    return Acting(user, named or user.project_id or default_project)


class View(Generic[T]):
    """The objects of one resource as one caller sees them in a snapshot. For one request."""

    def __init__(self, resource: "Resource[T]", snapshot: Snapshot, acting: Acting) -> None:
        self._resource = resource
        self._snapshot = snapshot
        self._acting = acting
        self._render = resource.shown_to(snapshot, acting.project)
        self._networks: dict[NetworkId, Network | None] = {}
        level = acting.level(in_own_network=False)
        self._hidden = () if level is Level.ADMINISTRATOR else hidden_below(resource.attributes, level)

    def sees(self, row: T) -> bool:
        """Tell whether the caller may know that an object exists."""
        acting, resource = self._acting, self._resource
        if acting.user.is_service or resource.owned(row).project_id == acting.project:
            return True
        return self._in_own_network(row) or resource.shared(self._snapshot, row, acting.project)

    def show(self, row: T) -> Rendered:
        """Return an object's attributes, those that the caller may know."""
        return _without(self._render(row), self._hidden)

    def later(self, rows: Iterable[T]) -> Showing:
        """Return what shows these rows when it is called: of ports once the writer's turn is over.

        Others wait for that turn, and what a port's attributes cost is a tenth of it.
        """
        resource = self._resource
        if resource.renderer_after is None:
            found = [self.show(row) for row in rows]
            return lambda: found
        kept = list(rows)
        render, hidden = resource.renderer_after(self._snapshot, kept), self._hidden
        return lambda: [_without(render(row), hidden) for row in kept]

    def get(self, id_: str) -> T:
        """Return an object; raise NotFound if the caller may not see it."""
        row = self._resource.get(self._snapshot, id_)
        if not self.sees(row):
            raise missing(self._resource.noun, id_)
        return row

    def require(self, row: T, rule: str) -> None:
        """Raise Forbidden, naming the rule, if the caller may not change or delete an object that it sees."""
        acting = self._acting
        may = acting.user.is_admin or self._resource.owned(row).project_id == acting.project
        if not (may or self._in_own_network(row) or (acting.user.is_service and self._resource.services_write)):
            raise denied(f"rule:{rule}")

    def check_update(self, row: T, values: Values) -> None:
        """Raise Forbidden for an object or an attribute that the caller may not change."""
        if self._acting.user.is_admin:
            return
        self.require(row, f"update_{self._resource.name}")
        self._check_named(values)
        self._check_attributes("update", values, in_own_network=self._in_own_network(row))

    def check_create(self, values: Values) -> None:
        """Raise Forbidden or Invalid for what the caller may not create, NotFound for a network it may not see."""
        acting = self._acting
        if acting.user.is_admin:
            return
        for name in ("project_id", "tenant_id"):
            if values.get(name) not in (None, acting.project) and not acting.user.is_service:
                raise bad_request(
                    "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires "
                    "admin privileges"
                )
        self._check_named(values)
        network = self._network_named(values)
        in_own_network = network is not None and network.project_id == acting.project
        if self._resource.in_own_networks_only and not in_own_network:
            raise denied(f"rule:create_{self._resource.name}")
        self._check_attributes("create", values, in_own_network=in_own_network)

    def _check_named(self, values: Values) -> None:
        project = self._acting.seen_by
        if project is not None and self._resource.check_named is not None:
            self._resource.check_named(self._snapshot, values, project)

    def _check_attributes(self, action: str, values: Values, *, in_own_network: bool) -> None:
        level = self._acting.level(in_own_network=in_own_network)
        if level is Level.ADMINISTRATOR:
            return
        rule = f"rule:{action}_{self._resource.name}"
        for name, value in values.items():
            attribute = self._resource.attributes[name]
            needed = attribute.set_by if isinstance(attribute.set_by, Level) else attribute.set_by(value)
            if needed > level and not (action == "create" and value == attribute.default):
                raise denied(f"({rule} and {rule}:{name})")

    def _network_named(self, values: Values) -> Network | None:
        id_ = values.get("network_id")
        network = None if id_ is None else self._network(NetworkId(id_))
        if network is None:
            return None  # what creates the object says so
        project = self._acting.seen_by
        if project is not None and not network_visible(self._snapshot, network, project):
            raise missing("Network", network.id)
        return network

    def _in_own_network(self, row: T) -> bool:
        if self._resource.network_of is None:
            return False
        network = self._network(self._resource.network_of(row))
        return network is not None and network.project_id == self._acting.project

    def _network(self, id_: NetworkId) -> Network | None:
        if id_ not in self._networks:
            self._networks[id_] = self._snapshot.network(id_)
        return self._networks[id_]


def _without(shown: Rendered, hidden: Iterable[str]) -> Rendered:
    for name in hidden:
        shown.pop(name, None)
    return shown


def hidden_below(table: Mapping[str, Attribute], level: Level) -> tuple[str, ...]:
    """Return the attributes that a caller of a level does not see."""
    return _hidden(tuple((name, each.shown_to) for name, each in table.items()), level)


@lru_cache(maxsize=64)
def _hidden(shown_to: tuple[tuple[str, Level], ...], level: Level) -> tuple[str, ...]:
    return tuple(name for name, needed in shown_to if needed > level)


def missing(noun: str, id_: str) -> NotFound:
    """Return the error for an object that is not there, or not for this caller."""
    return NotFound(f"{noun} {id_} could not be found.", kind=f"{noun}NotFound")


def denied(rule: str) -> Forbidden:
    """Return the error for what a rule of the policy does not allow."""
    return Forbidden(f"{rule} is disallowed by policy", kind="PolicyNotAuthorized")
