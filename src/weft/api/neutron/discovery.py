"""What this server is and can do: the version document, the list of resources, and the list of extensions.

What is announced is in extensions.py.
"""

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer
from weft.api.neutron.extensions import EXTENSIONS
from weft.api.neutron.listing import origin
from weft.api.routing import Operation
from weft.model.errors import NotFound

_RESOURCES = (("network", "networks"), ("subnet", "subnets"), ("subnetpool", "subnetpools"), ("port", "ports"))
"""Neutron's core resources; routers come with the extension ``router``."""


def operations() -> list[Operation]:
    """Return the operations of the documents."""
    return [
        Operation("GET", "/", versions, Access.PUBLIC),
        Operation("GET", "/v2.0/", resources, Access.USER),
        Operation("GET", "/v2.0/extensions", extensions, Access.USER),
        Operation("GET", "/v2.0/extensions/{alias}", extension, Access.USER),
    ]


async def versions(request: Request) -> Response:
    """Answer the version document; its link leads back to where the client came from."""
    link = {"rel": "self", "href": f"{origin(request)}/v2.0/"}
    return JsonAnswer({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


async def resources(request: Request) -> Response:
    """Answer the core resources."""
    found = [
        {
            "name": name,
            "collection": collection,
            "links": [{"rel": "self", "href": f"{origin(request)}/v2.0/{collection}"}],
        }
        for name, collection in _RESOURCES
    ]
    return JsonAnswer({"resources": found})


async def extensions(request: Request) -> Response:
    """Answer the extensions that work."""
    del request
    return JsonAnswer({"extensions": list(EXTENSIONS.values())})


async def extension(request: Request) -> Response:
    """Answer one extension."""
    alias = request.path_params["alias"]
    if alias not in EXTENSIONS:
        raise NotFound(f"Extension with alias {alias} does not exist", kind="ExtensionNotFound")
    return JsonAnswer({"extension": EXTENSIONS[alias]})
