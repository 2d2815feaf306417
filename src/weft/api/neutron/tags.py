"""Tags: words that people hang on any object."""

from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer, no_content, read_json
from weft.api.neutron.attributes import bad_request, invalid_input
from weft.api.neutron.policy import Acting, View, acting_in
from weft.api.neutron.resource import Resource
from weft.api.neutron.values import Refused, strings
from weft.api.routing import Operation
from weft.model.errors import NotFound
from weft.store import Snapshot, Store, Transaction

MAX_TAG_LENGTH = 255

T = TypeVar("T")


class TagPages(Generic[T]):
    """The pages of the tags of one resource's objects."""

    def __init__(self, resource: Resource[T], store: Store, project: str) -> None:
        """`project` is what administrators act for who name none."""
        self._resource = resource
        self._store = store
        self._project = project

    def operations(self) -> list[Operation]:
        """Return the operations."""
        tags = self._resource.url_path + "/{id}/tags"
        return [
            Operation("GET", tags, self.index, Access.USER),
            Operation("PUT", tags, self.replace, Access.USER),
            Operation("POST", tags, self.extend, Access.USER),
            Operation("DELETE", tags, self.clear, Access.USER),
            Operation("GET", tags + "/{tag}", self.check, Access.USER),
            Operation("PUT", tags + "/{tag}", self.add, Access.USER),
            Operation("DELETE", tags + "/{tag}", self.remove, Access.USER),
        ]

    async def index(self, request: Request) -> Response:
        """Answer an object's tags."""
        return JsonAnswer({"tags": await self._read(request)})

    async def replace(self, request: Request) -> Response:
        """Make the body an object's tags."""
        tags = await _tags_of(request)
        await self._change(request, lambda _: set(tags))
        return JsonAnswer({"tags": tags})

    async def extend(self, request: Request) -> Response:
        """Add the body's tags to an object's."""
        tags = await _tags_of(request)
        await self._change(request, lambda present: present | set(tags))
        return JsonAnswer({"tags": tags})

    async def clear(self, request: Request) -> Response:
        """Take all tags off an object."""
        await self._change(request, lambda _: set())
        return no_content()

    async def check(self, request: Request) -> Response:
        """Answer whether an object has a tag."""
        _require(set(await self._read(request)), request.path_params["tag"])
        return no_content()

    async def add(self, request: Request) -> Response:
        """Hang a tag on an object."""
        tags = _checked([request.path_params["tag"]])
        await self._change(request, lambda present: present | set(tags))
        return JsonAnswer(None, status_code=201)

    async def remove(self, request: Request) -> Response:
        """Take a tag off an object."""
        tag = request.path_params["tag"]

        def without(present: set[str]) -> set[str]:
            _require(present, tag)
            return present - {tag}

        await self._change(request, without)
        return no_content()

    async def _read(self, request: Request) -> list[str]:
        acting, id_ = acting_in(request, self._project), request.path_params["id"]
        return await self._store.read(lambda snapshot: sorted(self._row(snapshot, acting, id_)[1]))

    async def _change(self, request: Request, change: Callable[[set[str]], set[str]]) -> None:
        acting, id_ = acting_in(request, self._project), request.path_params["id"]

        def work(tx: Transaction) -> None:
            row, tags = self._row(tx, acting, id_)
            View(self._resource, tx, acting).require(row, f"update_{self._resource.name}")
            self._resource.update(tx, id_, {"tags": tuple(sorted(change(tags)))})

        await self._store.transact(work)

    def _row(self, snapshot: Snapshot, acting: Acting, id_: str) -> tuple[T, set[str]]:
        row = View(self._resource, snapshot, acting).get(id_)
        return row, set(self._resource.owned(row).tags)


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
