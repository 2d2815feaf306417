"""Tags: words that people hang on any object."""

from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.neutron.attributes import bad_request, invalid_input
from weft.api.neutron.resource import Resource
from weft.api.neutron.values import Refused, strings
from weft.api.routing import Operation
from weft.model.errors import NotFound
from weft.store import Snapshot, Store, Transaction

MAX_TAG_LENGTH = 255

T = TypeVar("T")


class TagPages(Generic[T]):
    """The pages of the tags of one resource's objects."""

    def __init__(self, resource: Resource[T], store: Store) -> None:
        self._resource = resource
        self._store = store

    def operations(self) -> list[Operation]:
        """Return the operations."""
        tags = f"/v2.0/{self._resource.collection}" + "/{id}/tags"
        return [
            Operation("GET", tags, self.index),
            Operation("PUT", tags, self.replace),
            Operation("POST", tags, self.extend),
            Operation("DELETE", tags, self.clear),
            Operation("GET", tags + "/{tag}", self.check),
            Operation("PUT", tags + "/{tag}", self.add),
            Operation("DELETE", tags + "/{tag}", self.remove),
        ]

    async def index(self, request: Request) -> Response:
        """Answer an object's tags."""
        id_ = request.path_params["id"]
        return JsonAnswer({"tags": await self._store.read(lambda snapshot: sorted(self._tags(snapshot, id_)))})

    async def replace(self, request: Request) -> Response:
        """Make the body an object's tags."""
        tags = await _tags_of(request)
        await self._store.transact(lambda tx: self._put(tx, request.path_params["id"], set(tags)))
        return JsonAnswer({"tags": tags})

    async def extend(self, request: Request) -> Response:
        """Add the body's tags to an object's."""
        tags = await _tags_of(request)
        id_ = request.path_params["id"]
        await self._store.transact(lambda tx: self._put(tx, id_, self._tags(tx, id_) | set(tags)))
        return JsonAnswer({"tags": tags})

    async def clear(self, request: Request) -> Response:
        """Take all tags off an object."""
        await self._store.transact(lambda tx: self._put(tx, request.path_params["id"], set()))
        return no_content()

    async def check(self, request: Request) -> Response:
        """Answer whether an object has a tag."""
        id_, tag = request.path_params["id"], request.path_params["tag"]
        await self._store.read(lambda snapshot: _require(self._tags(snapshot, id_), tag))
        return no_content()

    async def add(self, request: Request) -> Response:
        """Hang a tag on an object."""
        id_, tags = request.path_params["id"], _checked([request.path_params["tag"]])
        await self._store.transact(lambda tx: self._put(tx, id_, self._tags(tx, id_) | set(tags)))
        return JsonAnswer(None, status_code=201)

    async def remove(self, request: Request) -> Response:
        """Take a tag off an object."""
        id_, tag = request.path_params["id"], request.path_params["tag"]

        def work(tx: Transaction) -> None:
            tags = self._tags(tx, id_)
            _require(tags, tag)
            self._put(tx, id_, tags - {tag})

        await self._store.transact(work)
        return no_content()

    def _tags(self, snapshot: Snapshot, id_: str) -> set[str]:
        return set(self._resource.owned(self._resource.get(snapshot, id_)).tags)

    def _put(self, tx: Transaction, id_: str, tags: set[str]) -> None:
        self._resource.get(tx, id_)
        self._resource.update(tx, id_, {"tags": tuple(sorted(tags))})


async def _tags_of(request: Request) -> list[str]:
    body = await read_json(request, dict[str, object])
    if body.keys() != {"tags"}:
        raise bad_request('Invalid tags body: write {"tags": [...]}')
    return _checked(body["tags"])


def _checked(tags: object) -> list[str]:
    try:
        found = strings(MAX_TAG_LENGTH)(tags)
    except Refused as refused:
        raise invalid_input("tags", str(refused)) from None
    assert isinstance(found, tuple)
    return list(found)


def _require(tags: set[str], tag: str) -> None:
    if tag not in tags:
        raise NotFound(f"Tag {tag} could not be found.", kind="TagNotFound")
