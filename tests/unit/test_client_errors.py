"""What a client makes of addresses, answers and failures."""

import httpx
import pytest

from weft.client import Client
from weft.client.endpoint import UNREACHABLE, error_of, parse_server
from weft.model.errors import Conflict, Forbidden, Invalid, NotFound, Permanent, Transient, WeftError


def client_answering(status: int, body: str, headers: dict[str, str] | None = None) -> Client:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text=body, headers=headers)

    return Client("http://weft.test", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (412, Conflict),
        (413, Invalid),
        (429, Transient),
        (500, Transient),
        (503, Transient),
    ],
)
def test_a_status_becomes_the_error_of_the_model_with_the_servers_text(status: int, error: type[WeftError]) -> None:
    neutron = error_of(status, b'{"NeutronError": {"type": "PortInUse", "message": "Port p is in use", "detail": ""}}')
    native = error_of(status, b'{"error": {"kind": "PortInUse", "message": "Port p is in use"}}')
    for found in (neutron, native):
        assert type(found) is error
        assert found.kind == "PortInUse"
        assert found.message == "Port p is in use"


def test_an_error_without_an_explanation_names_the_status() -> None:
    assert error_of(502, b"<html>").message == "the server answered 502 Bad Gateway"


def test_retry_after_is_kept_and_a_date_in_it_is_no_failure() -> None:
    with pytest.raises(Transient) as caught:
        client_answering(503, "", {"Retry-After": "7"}).status()
    assert caught.value.retry_after_s == 7.0
    dated = error_of(503, b"", "Fri, 31 Dec 2027 23:59:59 GMT")
    assert isinstance(dated, Transient)
    assert dated.retry_after_s == 1.0


def test_a_server_that_is_away_is_unreachable_and_the_text_says_what_to_do() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(Transient) as caught:
        Client("http://weft.test:1", transport=httpx.MockTransport(refuse)).networks.list()
    assert caught.value.kind == UNREACHABLE
    assert "http://weft.test:1" in caught.value.message
    assert "weft server" in caught.value.message


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"nets": []}', '{"networks": 5}'])
def test_an_answer_that_is_not_wefts_is_permanent(body: str) -> None:
    with pytest.raises(Permanent, match=r"is it a weft server\?"):
        client_answering(200, body).networks.list()


@pytest.mark.parametrize("server", ["", "weft:9696", "ftp://weft", "http://", "unix:relative", "http://weft/?a=b"])
def test_what_is_no_server_is_named(server: str) -> None:
    with pytest.raises(Invalid, match="is not a server"):
        parse_server(server)


def test_servers() -> None:
    assert parse_server("http://[::1]:9696/").base_url == "http://[::1]:9696"
    assert parse_server("unix:/run/weft.sock").socket_path == "/run/weft.sock"
