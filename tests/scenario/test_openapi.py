"""The API's description of itself is served, complete, and made of the definitions that serve the requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_server import ApiServer, api_server
from jsonschema import Draft202012Validator

from weft.api.openapi import native, neutron
from weft.api.openapi.document import is_described, resources_of
from weft.api.routing import Operation


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


def operations(server: ApiServer) -> list[Operation]:
    return list(server.api.operations)


async def test_the_document_is_served_to_everybody(server: ApiServer) -> None:
    answer = await server.http.get("/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    assert {(method.upper(), path) for path, found in document["paths"].items() for method in found} == {
        (each.method, each.path) for each in operations(server)
    }


async def test_every_schema_is_one_and_refers_to_what_is_there(server: ApiServer) -> None:
    document = (await server.http.get("/openapi.json")).json()
    references: set[str] = set()

    def walk(found: object) -> None:
        if isinstance(found, dict):
            if isinstance(found.get("$ref"), str):
                references.add(found["$ref"].removeprefix("#/components/schemas/"))
            if "schema" in found:
                Draft202012Validator.check_schema(found["schema"])
            for each in found.values():
                walk(each)
        elif isinstance(found, list):
            for each in found:
                walk(each)

    walk(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert references == document["components"]["schemas"].keys()
    names = [found["operationId"] for each in document["paths"].values() for found in each.values()]
    assert len(names) == len(set(names))


async def test_nothing_is_described_that_is_not_there(server: ApiServer) -> None:
    there = {(each.method, each.path) for each in operations(server)}
    assert (native.PAGES.keys() | neutron.OTHERS.keys()) <= there


async def test_bodies_of_neutrons_pages_are_described(server: ApiServer) -> None:
    resources = resources_of(operations(server))
    assert {"ports", "networks", "subnets", "routers"} <= resources.keys()
    only_given = {"network_labels", "prefixlen", "subnet_id", "use_default_subnetpool"}
    for resource in resources.values():
        assert resource.attributes.keys() - neutron.SHAPES.keys() <= only_given, resource.collection
    for operation in operations(server):
        if operation.path.startswith("/v2.0/") and operation.path.split("/")[2] in resources:
            assert is_described(operation, resources), operation


async def test_every_page_is_in_the_documentation(server: ApiServer) -> None:
    docs = Path(__file__).parents[2] / "docs"
    own = (docs / "api.md").read_text()
    neutrons = own + "".join((docs / name).read_text() for name in ("neutron.md", "neutron-resources.md"))
    missing = []
    for each in operations(server):
        words = [word for word in each.path.split("/") if word and not word.startswith("{")]
        page = own if each.path.startswith("/v1") else neutrons
        if words and f"/{words[-1]}" not in page and f"`{words[-1]}`" not in page:
            missing.append(each.path)
    assert missing == []
