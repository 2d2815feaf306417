"""What this server is and can do: the version document, the list of resources, and the list of extensions.

An extension is announced only if what it promises works; SDKs and Nova choose their behaviour from this list.
"""

from starlette.requests import Request
from starlette.responses import Response

from weft.api.access import Access
from weft.api.answers import JsonAnswer
from weft.api.neutron.listing import origin
from weft.api.routing import Operation
from weft.model.errors import NotFound

_RESOURCES = (("network", "networks"), ("subnet", "subnets"), ("port", "ports"))
"""Neutron's core resources; routers come with the extension ``router``."""


def _extension(alias: str, name: str, description: str, updated: str) -> dict[str, object]:
    return {"name": name, "alias": alias, "description": description, "updated": updated, "links": []}


EXTENSIONS = {
    str(each["alias"]): each
    for each in (
        _extension(
            "binding",
            "Port Binding",
            "Expose port bindings of a virtual port to external application",
            "2014-02-03T10:00:00-00:00",
        ),
        _extension(
            "empty-string-filtering",
            "Empty String Filtering Extension",
            "Allow filtering by attributes with empty string value",
            "2018-05-01T10:00:00-00:00",
        ),
        _extension(
            "filter-validation",
            "Filter parameters validation",
            "Provides validation on filter parameters.",
            "2018-07-04T10:00:00-00:00",
        ),
        _extension("ip_allocation", "IP Allocation", "IP allocation extension.", "2016-06-10T23:00:00-00:00"),
        _extension(
            "ip-substring-filtering",
            "IP address substring filtering",
            "Provides IP address substring filtering when listing ports",
            "2017-11-28T09:00:00-00:00",
        ),
        _extension(
            "l2_adjacency",
            "L2 Adjacency",
            "Display L2 Adjacency for Neutron Networks.",
            "2016-04-12T16:00:00-00:00",
        ),
        _extension(
            "net-mtu", "Network MTU", "Provides MTU attribute for a network resource.", "2015-03-25T10:00:00-00:00"
        ),
        _extension(
            "net-mtu-writable",
            "Network MTU (writable)",
            "Provides a writable MTU attribute for a network resource.",
            "2017-07-12T00:00:00-00:00",
        ),
        _extension(
            "pagination",
            "Pagination support",
            "Extension that indicates that pagination is enabled.",
            "2016-06-12T00:00:00-00:00",
        ),
        _extension("port-security", "Port Security", "Provides port security", "2012-07-23T10:00:00-00:00"),
        _extension(
            "project-id",
            "project_id field enabled",
            "Extension that indicates that project_id field is enabled.",
            "2016-09-09T09:09:09-09:09",
        ),
        _extension(
            "provider",
            "Provider Network",
            "Expose mapping of virtual networks to physical networks",
            "2012-09-07T10:00:00-00:00",
        ),
        _extension(
            "revision-if-match",
            "If-Match constraints based on revision_number",
            "Extension indicating that If-Match based on revision_number is supported.",
            "2016-12-11T00:00:00-00:00",
        ),
        _extension(
            "router",
            "Neutron L3 Router",
            "Router abstraction for basic L3 forwarding between L2 Neutron networks and access to external networks "
            "via a NAT gateway.",
            "2012-07-20T10:00:00-00:00",
        ),
        _extension(
            "sorting",
            "Sorting support",
            "Extension that indicates that sorting is enabled.",
            "2016-06-12T00:00:00-00:00",
        ),
        _extension(
            "standard-attr-description",
            "standard-attr-description",
            "Extension to add descriptions to standard attributes",
            "2016-02-10T10:00:00-00:00",
        ),
        _extension(
            "standard-attr-revisions",
            "Resource revision numbers",
            "This extension will display the revision number of neutron resources.",
            "2016-04-11T10:00:00-00:00",
        ),
        _extension(
            "standard-attr-timestamp",
            "Resource timestamps",
            "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
            "2016-09-12T10:00:00-00:00",
        ),
    )
}


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
