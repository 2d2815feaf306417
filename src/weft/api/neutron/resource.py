"""The five requests that every resource answers: list, show, create (one or many), update, delete."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from weft.api.access import Access
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.idempotency import once
from weft.api.neutron.attributes import MAX_REASON_LENGTH, Attribute, bad_request, check_create, check_update
from weft.api.neutron.listing import (
    ListQuery,
    Rendered,
    matcher,
    page_links,
    page_of,
    parse_query,
    streamed,
    with_fields,
)
from weft.api.neutron.policy import Acting, Showing, View, acting_in, missing
from weft.api.neutron.rows import OwnedRow, Values
from weft.api.routing import Operation
from weft.model.errors import Conflict
from weft.model.ids import NetworkId, PortId
from weft.model.numbers import whole_number
from weft.store import Snapshot, Store, Transaction

MAX_BULK = 1000
"""Objects created by one request, which are one transaction."""

MAX_ROWS_AT_ONCE = 4096
"""Rows that a list is looked for in at once; more are read in several portions."""

_IF_MATCH = "revision_number="
T = TypeVar("T")


def _never_shared(snapshot: Snapshot, row: object, project: str) -> bool:
    del snapshot, row, project
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """A kind of object: its attributes, how a row is found and shown, and what its requests become."""

    name: str
    collection: str
    path: str = ""
    """Of the collection in URLs, where that is not its name."""
    noun: str
    """As it stands in errors: Port in PortNotFound."""
    attributes: Mapping[str, Attribute]
    find: Callable[[Snapshot, str], T | None]
    select: Callable[[Snapshot, ListQuery], Iterable[T]]
    """Returns every row that may pass the query's filters, and perhaps others; see `paged`."""
    renderer: Callable[[Snapshot], Callable[[T], Rendered]]
    renderer_for: Callable[[Snapshot, str], Callable[[T], Rendered]] | None = None
    """Returns what shows rows to one project, where each project is shown something else."""
    renderer_after: Callable[[Snapshot, Sequence[T]], Callable[[T], Rendered]] | None = None
    """Returns what shows these rows, and asks the snapshot nothing any more."""
    owned: Callable[[T], OwnedRow]
    """Returns the part of a row that all resources have."""
    create: Callable[[Transaction, Values, str], T]
    create_several: Callable[[Transaction, Sequence[tuple[Values, str]]], list[T]] | None = None
    """Creates many at once, each of its values and for its project, where that costs less than one after another."""
    update: Callable[[Transaction, str, Values], T]
    delete: Callable[[Transaction, str], None]
    paged: bool = False
    """Whether `select` heeds ``after_id`` and ``at_most`` of a query: so many of these rows, in the order of ids."""
    shared: Callable[[Snapshot, T, str], bool] = _never_shared
    """Tells whether a project may see a row that another owns."""
    network_of: Callable[[T], NetworkId] | None = None
    """Returns the network that a row is in; who owns that sees and may change the row."""
    in_own_networks_only: bool = False
    """Whether a project creates objects in networks of its own only, not in shared ones."""
    is_port: bool = False
    services_write: bool = False
    """Whether other services may change what projects own."""
    check_named: Callable[[Snapshot, Values, str], None] | None = None
    """Raises NotFound for objects that a request's values name and that the project may not use."""

    @property
    def url_path(self) -> str:
        """The path of the collection."""
        return f"/v2.0/{self.path or self.collection}"

    def asks_for(self, id_: str) -> Sequence[PortId]:
        """Return the ports that showing or changing an object begins with."""
        return (PortId(id_),) if self.is_port else ()

    def made(self, tx: Transaction, asked: Sequence[tuple[Values, str]]) -> list[T]:
        """Create all that is asked for, each of its values and for its project, and return it."""
        if self.create_several is not None:
            return self.create_several(tx, asked)
        return [self.create(tx, values, project) for values, project in asked]

    def shown_to(self, snapshot: Snapshot, project: str) -> Callable[[T], Rendered]:
        """Return what shows rows to those who act for a project."""
        return self.renderer(snapshot) if self.renderer_for is None else self.renderer_for(snapshot, project)

    def get(self, snapshot: Snapshot, id_: str) -> T:
        """Return the row of an id; raise NotFound in Neutron's words."""
        found = self.find(snapshot, id_)
        if found is None:
            raise missing(self.noun, id_)
        return found


@dataclass(frozen=True, slots=True)
class Creation:
    """What a request to create asks for, checked as far as that needs no row, and who asks."""

    acting: Acting
    asked: Sequence[Values]


@dataclass(frozen=True, slots=True)
class Change:
    """What a request to change an object asks for, or to delete it, and who asks."""

    acting: Acting
    id: str
    expected: int | None
    """The revision number that the object must have; None: any."""
    values: Values = field(default_factory=dict)


class ResourcePages(Generic[T]):
    """The pages of one resource."""

    def __init__(self, resource: Resource[T], store: Store, project: str) -> None:
        """`project` owns what a request creates without naming an owner."""
        self._resource = resource
        self._store = store
        self._project = project

    @property
    def resource(self) -> Resource[T]:
        """The resource whose pages these are."""
        return self._resource

    def operations(self) -> list[Operation]:
        """Return the operations of the collection and of each object."""
        collection = self._resource.url_path
        return [
            Operation("POST", collection, self.create, Access.USER),
            Operation("GET", collection, self.index, Access.USER),
            Operation("GET", collection + "/{id}", self.show, Access.USER),
            Operation("PUT", collection + "/{id}", self.update, Access.USER),
            Operation("DELETE", collection + "/{id}", self.delete, Access.USER),
        ]

    async def index(self, request: Request) -> Response:
        """Answer the objects that the caller sees and that pass the query's filters."""
        resource = self._resource
        acting = acting_in(request, self._project)
        query = parse_query(resource.attributes, request.query_params.multi_items())
        query = replace(query, seen_by=acting.seen_by)
        if resource.paged and query.in_order_of_ids:
            return await self._index_by_ids(request, acting, query)
        page = await self._store.read(lambda snapshot: self._page(View(resource, snapshot, acting), snapshot, query))
        return self._list_answer(request, query, page)

    def _page(self, view: View[T], snapshot: Snapshot, query: ListQuery) -> list[Rendered]:
        resource = self._resource
        marker = view.show(view.get(query.marker)) if query.marker and query.limit else None
        matches = matcher(resource.attributes, query)
        rows = (view.show(row) for row in resource.select(snapshot, query) if view.sees(row))
        return page_of([row for row in rows if matches(row)], query, marker)

    async def _index_by_ids(self, request: Request, acting: Acting, query: ListQuery) -> Response:
        """Answer a list in the order of ids, reading no more than it shows and holding one portion of it at a time."""
        portions = self._portions(acting, query)
        page = await anext(portions)
        if query.limit is not None:
            while len(page) < query.limit and (more := await anext(portions, None)) is not None:
                page += more
            return self._list_answer(request, query, page[: query.limit])
        if (second := await anext(portions, None)) is None:
            return self._list_answer(request, query, page)
        return StreamingResponse(
            streamed(self._resource.collection, query.fields, (page, second), portions), media_type="application/json"
        )

    async def _portions(self, acting: Acting, query: ListQuery) -> AsyncIterator[list[Rendered]]:
        """Yield what passes the filters, each portion from a read of its own, so that nobody waits long for a reader.

        The first portion raises what is wrong with the query.
        """
        resource = self._resource
        matches = matcher(resource.attributes, query)
        after = query.marker if query.limit is not None else None  # Neutron looks at a marker only with a limit
        at_most = min(query.limit or MAX_ROWS_AT_ONCE, MAX_ROWS_AT_ONCE)

        def look(snapshot: Snapshot) -> tuple[list[Rendered], str | None]:
            view = View(resource, snapshot, acting)
            if after is not None and after == query.marker:
                view.get(after)
            rows = list(resource.select(snapshot, replace(query, after_id=after, at_most=at_most)))
            shown = (view.show(row) for row in rows if view.sees(row))
            found = [each for each in shown if matches(each)]
            return found, resource.owned(rows[-1]).id if len(rows) >= at_most else None

        while True:
            named = resource.asks_for(after) if after is not None and after == query.marker else ()
            found, after = await self._store.read(look, ports=named)
            yield found
            if after is None:
                return
            at_most = min(2 * at_most, MAX_ROWS_AT_ONCE)

    def _list_answer(self, request: Request, query: ListQuery, page: list[Rendered]) -> Response:
        collection = self._resource.collection
        body: dict[str, object] = {collection: [with_fields(each, query.fields) for each in page]}
        if links := page_links(request, query, page):
            body[f"{collection}_links"] = links
        return JsonAnswer(body)

    async def show(self, request: Request) -> Response:
        """Answer one object."""
        resource, id_ = self._resource, request.path_params["id"]
        acting = acting_in(request, self._project)

        def look(snapshot: Snapshot) -> Rendered:
            view = View(resource, snapshot, acting)
            return view.show(view.get(id_))

        found = await self._store.look(look, ports=resource.asks_for(id_))
        if request.scope["query_string"]:
            found = with_fields(found, [field for field in request.query_params.getlist("fields") if field])
        return JsonAnswer({resource.name: found})

    async def create(self, request: Request) -> Response:
        """Create one object, or many in one transaction: either all of them or none."""
        resource = self._resource
        acting = acting_in(request, self._project)
        body = await _body(request)
        many = resource.collection in body
        asked = [check_create(resource.name, resource.attributes, each) for each in self._asked(body)]
        creation = Creation(acting, asked)

        def work(tx: Transaction) -> Showing:
            return self._create_all(tx, [creation])[0]

        def answer(made: Showing) -> Response:
            shown = made()
            return JsonAnswer({resource.collection: shown} if many else {resource.name: shown[0]}, status_code=201)

        alone = many or resource.create_several is None  # of many, what they have in common is done once as it is
        together = None if alone else (self._create_all, creation)
        early = resource.create_several is not None
        return await once(self._store, request, body, work, answer, together=together, early=early)

    def _create_all(self, tx: Transaction, creations: Sequence[Creation]) -> list[Showing]:
        """Do what several requests ask for, and return what shows each of them what it has made."""
        views = [View(self._resource, tx, creation.acting) for creation in creations]
        for view, creation in zip(views, creations, strict=True):
            for values in creation.asked:
                view.check_create(values)
        asked = [(values, creation.acting.project) for creation in creations for values in creation.asked]
        made = iter(self._resource.made(tx, asked))
        return [
            view.later(list(islice(made, len(creation.asked)))) for view, creation in zip(views, creations, strict=True)
        ]

    async def update(self, request: Request) -> Response:
        """Change attributes of one object."""
        resource, id_ = self._resource, request.path_params["id"]
        body = await _body(request)
        values = check_update(resource.name, resource.attributes, self._one(body))
        change = Change(acting_in(request, self._project), id_, _expected_revision(request), values)

        def work(tx: Transaction) -> Showing:
            return self._update_all(tx, [change])[0]

        def answer(made: Showing) -> Response:
            return JsonAnswer({resource.name: made()[0]})

        ports, together = resource.asks_for(id_), (self._update_all, change) if resource.is_port else None
        return await once(
            self._store, request, body, work, answer, ports=ports, together=together, early=resource.is_port
        )

    def _update_all(self, tx: Transaction, changes: Sequence[Change]) -> list[Showing]:
        """Do what several requests ask for, and return what shows each of them what it has changed."""
        made = []
        for change in changes:
            view = View(self._resource, tx, change.acting)
            row = view.get(change.id)
            view.check_update(row, change.values)
            self._require_revision(row, change.expected)
            made.append(view.later((self._resource.update(tx, change.id, change.values),)))
        return made

    async def delete(self, request: Request) -> Response:
        """Delete one object."""
        resource, id_ = self._resource, request.path_params["id"]
        change = Change(acting_in(request, self._project), id_, _expected_revision(request))

        def work(tx: Transaction) -> None:
            self._delete_all(tx, [change])

        ports, together = resource.asks_for(id_), (self._delete_all, change) if resource.is_port else None
        return await once(self._store, request, None, work, lambda _: no_content(), ports=ports, together=together)

    def _delete_all(self, tx: Transaction, changes: Sequence[Change]) -> list[None]:
        """Delete what several requests ask for."""
        for change in changes:
            view = View(self._resource, tx, change.acting)
            row = view.get(change.id)
            view.require(row, f"delete_{self._resource.name}")
            self._require_revision(row, change.expected)
            self._resource.delete(tx, change.id)
        return [None] * len(changes)

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

    def _require_revision(self, row: T, expected: int | None) -> None:
        current = self._resource.owned(row).revision_number
        if expected is not None and current != expected:
            message = f"Constrained to {expected}, but current revision is {current}"
            raise Conflict(message, kind="RevisionNumberConstraintFailed")


async def _body(request: Request) -> dict[str, object]:
    body = await read_json(request, dict[str, object])
    if not body:
        raise bad_request("Resource body required")
    return body


def _expected_revision(request: Request) -> int | None:
    given = request.headers.get("if-match")
    if given is None:
        return None
    number = whole_number(given.removeprefix(_IF_MATCH)) if given.startswith(_IF_MATCH) else None
    if number is None:
        raise bad_request(f"'{given[:MAX_REASON_LENGTH]}' is not an If-Match of this API: write {_IF_MATCH}NUMBER")
    return number
