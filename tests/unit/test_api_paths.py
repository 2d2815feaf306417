"""Which endpoint a path leads to."""

import pytest

from weft.api.routing import _Segment

TEMPLATES = (
    "/",
    "/v2.0",
    "/v2.0/",
    "/v2.0/ports",
    "/v2.0/ports/{id}",
    "/v2.0/ports/{id}/bindings/{host}/activate",
    "/v1/ports/by-name/{name}",
    "/v1/ports/{id}",
    "/v1/ports/{port}/history",
)


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/", "/", {}),
        ("/v2.0", "/v2.0", {}),
        ("/v2.0/", "/v2.0/", {}),
        ("/v2.0/ports", "/v2.0/ports", {}),
        ("/v2.0/ports/a", "/v2.0/ports/{id}", {"id": "a"}),
        ("/v2.0/ports/a/bindings/h/activate", TEMPLATES[5], {"id": "a", "host": "h"}),
        ("/v1/ports/by-name/x", "/v1/ports/by-name/{name}", {"name": "x"}),
        ("/v1/ports/by-name", "/v1/ports/{id}", {"id": "by-name"}),
        ("/v1/ports/by-name/history", "/v1/ports/by-name/{name}", {"name": "history"}),
        ("/v1/ports/p/history", "/v1/ports/{port}/history", {"port": "p"}),
        ("/v2.0/ports/", None, {}),
        ("/v2.0/ports//bindings/h/activate", None, {}),
        ("/v2.0/ports/a/bindings/h", None, {}),
        ("/v3", None, {}),
        ("", None, {}),
    ],
)
def test_a_path_leads_to_one_endpoint(path: str, template: str | None, parameters: dict[str, str]) -> None:
    root = _Segment()
    for each in TEMPLATES:
        root.add(each.split("/")[1:], each)  # type: ignore[arg-type]
    values: list[str] = []
    found = root.find(path.split("/"), 1, values)
    if template is None:
        assert (found, values) == (None, [])
    else:
        assert found is not None
        assert (found[0], dict(zip(found[1], values, strict=True))) == (template, parameters)
