"""The five requests that every resource answers: list, show, create (one or many), update, delete."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.neutron.attributes import Attribute, bad_request, check_create, check_update
from weft.api.neutron.listing import ListQuery, Rendered, matcher, page_links, page_of, parse_query, with_fields
from weft.api.neutron.rows import OwnedRow, Values
from weft.api.routing import Operation
from weft.model.errors import Conflict, NotFound
from weft.store import Snapshot, Store, Transaction

MAX_BULK = 1000
"""Objects created by one request, which are one transaction."""

MAX_PROJECT_LENGTH = 255

_IF_MATCH = "revision_number="
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """A kind of object: its attributes, how a row is found and shown, and what its requests become."""

    name: str
    collection: str
    noun: str
    """As it stands in errors: Port in PortNotFound."""
    attributes: Mapping[str, Attribute]
    find: Callable[[Snapshot, str], T | None]
    select: Callable[[Snapshot, ListQuery], Iterable[T]]
    """Returns every row that may pass the query's filters, and perhaps others."""
    renderer: Callable[[Snapshot], Callable[[T], Rendered]]
    owned: Callable[[T], OwnedRow]
    """Returns the part of a row that all resources have."""
    create: Callable[[Transaction, Values, str], T]
    update: Callable[[Transaction, str, Values], T]
    delete: Callable[[Transaction, str], None]

    def get(self, snapshot: Snapshot, id_: str) -> T:
        """Return the row of an id; raise NotFound in Neutron's words."""
        found = self.find(snapshot, id_)
        if found is None:
            raise NotFound(f"{self.noun} {id_} could not be found.", kind=f"{self.noun}NotFound")
        return found


class ResourcePages(Generic[T]):
    """The pages of one resource."""

    def __init__(self, resource: Resource[T], store: Store, project: str) -> None:
        """`project` owns what a request creates without naming an owner."""
        self._resource = resource
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations of the collection and of each object."""
        collection = f"/v2.0/{self._resource.collection}"
        return [
            Operation("POST", collection, self.create),
            Operation("GET", collection, self.index),
            Operation("GET", collection + "/{id}", self.show),
            Operation("PUT", collection + "/{id}", self.update),
            Operation("DELETE", collection + "/{id}", self.delete),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the objects that pass the query's filters."""
        resource = self._resource
        query = parse_query(resource.attributes, request.query_params.multi_items())
        matches = matcher(resource.attributes, query)

        def collect(snapshot: Snapshot) -> list[Rendered]:
            rows = map(resource.renderer(snapshot), resource.select(snapshot, query))
            return [row for row in rows if matches(row)]

        page = page_of(await self._store.read(collect), query)
        body: dict[str, object] = {resource.collection: [with_fields(each, query.fields) for each in page]}
        if links := page_links(request, query, page):
            body[f"{resource.collection}_links"] = links
        return JsonAnswer(body)

    async def show(self, request: Request) -> Response:
        """Answer one object."""
        resource, id_ = self._resource, request.path_params["id"]
        found = await self._store.read(lambda snapshot: resource.renderer(snapshot)(resource.get(snapshot, id_)))
        fields = [field for field in request.query_params.getlist("fields") if field]
        return JsonAnswer({resource.name: with_fields(found, fields)})

    async def create(self, request: Request) -> Response:
        """Create one object, or many in one transaction: either all of them or none."""
        resource = self._resource
        project = _project(request) or self._project
        body = await _body(request)
        many = resource.collection in body
        asked = [check_create(resource.name, resource.attributes, each) for each in self._asked(body)]

        def work(tx: Transaction) -> list[Rendered]:
            render = resource.renderer(tx)
            return [render(resource.create(tx, values, project)) for values in asked]

        made = await self._store.transact(work)
        return JsonAnswer({resource.collection: made} if many else {resource.name: made[0]}, status_code=201)

    async def update(self, request: Request) -> Response:
        """Change attributes of one object."""
        resource, id_ = self._resource, request.path_params["id"]
        values = check_update(resource.name, resource.attributes, self._one(await _body(request)))
        expected = _expected_revision(request)

        def work(tx: Transaction) -> Rendered:
            self._require_revision(tx, id_, expected)
            return resource.renderer(tx)(resource.update(tx, id_, values))

        return JsonAnswer({resource.name: await self._store.transact(work)})

    async def delete(self, request: Request) -> Response:
        """Delete one object."""
        id_ = request.path_params["id"]
        expected = _expected_revision(request)

        def work(tx: Transaction) -> None:
            self._require_revision(tx, id_, expected)
            self._resource.delete(tx, id_)

        await self._store.transact(work)
        return no_content()

    def _asked(self, body: Mapping[str, object]) -> list[object]:
        if self._resource.collection not in body:
            return [self._one(body)]
        objects = body[self._resource.collection]
        if not isinstance(objects, list) or not objects:
            raise bad_request("Resources required")
        if len(objects) > MAX_BULK:
            raise bad_request(f"{len(objects)} objects are more than the {MAX_BULK} that one request may create")
        return objects

    def _one(self, body: Mapping[str, object]) -> object:
        if self._resource.name not in body:
            raise bad_request(f"Unable to find '{self._resource.name}' in request body")
        return body[self._resource.name]

    def _require_revision(self, tx: Transaction, id_: str, expected: int | None) -> None:
        current = self._resource.owned(self._resource.get(tx, id_)).revision_number
        if expected is not None and current != expected:
            message = f"Constrained to {expected}, but current revision is {current}"
            raise Conflict(message, kind="RevisionNumberConstraintFailed")


def _project(request: Request) -> str | None:
    project = request.headers.get("x-project-id")
    if project is not None and len(project) > MAX_PROJECT_LENGTH:
        raise bad_request(f"the header X-Project-Id is longer than {MAX_PROJECT_LENGTH} characters")
    return project


async def _body(request: Request) -> dict[str, object]:
    body = await read_json(request, dict[str, object])
    if not body:
        raise bad_request("Resource body required")
    return body


def _expected_revision(request: Request) -> int | None:
    given = request.headers.get("if-match")
    if given is None:
        return None
    number = given.removeprefix(_IF_MATCH)
    if not given.startswith(_IF_MATCH) or not number.isdecimal():
        raise bad_request(f"'{given}' is not an If-Match of this API: write {_IF_MATCH}NUMBER")
    return int(number)
