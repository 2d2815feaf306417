"""The document put together, and the page that serves it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import weft
from weft.api.access import Access
from weft.api.neutron.resource import Resource, ResourcePages
from weft.api.openapi import native, neutron
from weft.api.openapi.page import JSON, REF, TEXT, Page, Schema, resolved, schemas_of, types_in
from weft.api.routing import Operation

VERSION = "3.1.0"

_PARAMETER = re.compile(r"\{(\w+)\}")
_UUID: Schema = {"type": "string", "format": "uuid"}
_IDS = frozenset({"id", "network_id"})

_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message"],
            "properties": {"kind": TEXT, "message": TEXT},
        }
    },
}
_NEUTRON_ERROR: Schema = {
    "type": "object",
    "required": ["NeutronError"],
    "properties": {
        "NeutronError": {
            "type": "object",
            "required": ["type", "message", "detail"],
            "properties": {"type": TEXT, "message": TEXT, "detail": TEXT},
        }
    },
}
_HEADERS: Mapping[str, Schema] = {
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "Prefer": {"enum": ["respond-async"]},
}
_IF_MATCH: Schema = {"type": "string", "pattern": "^revision_number=[0-9]+$"}


class DocumentPages:
    """The page of the document. It needs no token: it says nothing that the manual does not say."""

    def __init__(self) -> None:
        self._described: Sequence[Operation] = ()
        self._body: bytes | None = None

    def operations(self) -> list[Operation]:
        """Return the operation."""
        return [Operation("GET", "/openapi.json", self.show, Access.PUBLIC)]

    def describe(self, operations: Sequence[Operation]) -> None:
        """Serve the document of these operations."""
        self._described = operations
        self._body = None

    async def show(self, request: Request) -> Response:
        """Answer the document that describes this API."""
        del request
        if self._body is None:
            self._body = msgspec.json.encode(document_of(self._described))
        return Response(self._body, media_type=JSON)


def document_of(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of some operations."""
    operations = list(operations)
    resources = resources_of(operations)
    pages = [(operation, _page(operation, resources)) for operation in operations]
    types = types_in([[page.takes, list(page.answers.values())] for _, page in pages]) + types_in(native.ACCEPTED)
    schemas, components = schemas_of(types)
    paths: dict[str, dict[str, Any]] = {}
    for operation, page in pages:
        shown = resolved(_described(operation, page), schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = shown
    errors = {"Error": _ERROR, "NeutronError": _NEUTRON_ERROR}
    return {
        "openapi": VERSION,
        "info": {
            "title": "weft",
            "version": weft.__version__,
            "description": "OpenStack Networking v2.0 under /v2.0; weft's own API under /v1.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, **errors},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "openstack": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    }


def resources_of(operations: Iterable[Operation]) -> dict[str, Resource[Any]]:
    """Return the resources that some operations are the pages of, by the segment of the path that names them."""
    found = {}
    for operation in operations:
        pages = getattr(operation.handler, "__self__", None)
        if isinstance(pages, ResourcePages):
            found[operation.path.split("/")[2]] = pages.resource
    return found


def is_described(operation: Operation, resources: Mapping[str, Resource[Any]]) -> bool:
    """Tell whether more is known of an operation than that it is there."""
    return _page(operation, resources) not in (native.UNDESCRIBED, native.UNDESCRIBED_CHANGE)


def _page(operation: Operation, resources: Mapping[str, Resource[Any]]) -> Page:
    key = (operation.method, operation.path)
    unknown = native.UNDESCRIBED_CHANGE if operation.method in {"POST", "PUT"} else native.UNDESCRIBED
    return native.PAGES.get(key) or neutron.page_of(*key, resources) or unknown


def _described(operation: Operation, page: Page) -> dict[str, Any]:
    error = "NeutronError" if operation.path.startswith("/v2.0") else "Error"
    answers: dict[str, Any] = {str(status): _answer(page, schema) for status, schema in page.answers.items()}
    if page.once:
        answers["202"] = _body("Accepted: it is worked on later.", JSON, native.ACCEPTED)
    answers["default"] = _body("Refused, or failed.", JSON, {"$ref": REF.format(name=error)})
    found: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": (operation.handler.__doc__ or "").partition("\n")[0],
        "parameters": [*_parameters(operation, page)],
        "responses": answers,
        "security": [] if operation.access is Access.PUBLIC else [{"bearer": []}, {"openstack": []}],
        "x-access": operation.access.name.lower(),
    }
    if page.takes is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": page.takes}}}
    return found


def _answer(page: Page, schema: type | Schema | None) -> dict[str, Any]:
    return {"description": "Done."} if schema is None else _body("Done.", page.media, schema)


def _body(description: str, media: str, schema: type | Schema) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema} if media == JSON else {}}}


def _parameters(operation: Operation, page: Page) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        schema = _UUID if name in _IDS else {"type": "string", "minLength": 1, "maxLength": 255}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for name, schema in page.query.items():
        yield {"name": name, "in": "query", "schema": schema}
    for name, schema in _HEADERS.items() if page.once else ():
        yield {"name": name, "in": "header", "schema": schema}
    if page.conditional:
        yield {"name": "If-Match", "in": "header", "schema": _IF_MATCH}


def _name(operation: Operation) -> str:
    words = re.sub(r"\W+", "_", operation.path).strip("_") or "root"
    return f"{operation.method.lower()}_{words}"
