"""Listening: which addresses are understood, and which are refused without a credential."""

import socket
import stat
from pathlib import Path

import pytest

from weft.api.listen import InheritedAddress, TcpAddress, UnixAddress, open_listeners, parse_listen
from weft.model.errors import Conflict, Invalid


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9696", TcpAddress("127.0.0.1", 9696)),
        ("[::1]:9696", TcpAddress("::1", 9696)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("unix:/run/weft/server.sock", UnixAddress(Path("/run/weft/server.sock"))),
        ("fd:3", InheritedAddress(3)),
    ],
)
def test_addresses_are_read(text: str, address: object) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "9696", ":9696", "host:", "host:70000", "unix:relative", "fd:x", "fd:-1"])
def test_other_texts_are_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_listen(text)
    assert f"'{text}'" in caught.value.message


@pytest.mark.parametrize("text", ["0.0.0.0:0", "[::]:0"])
def test_without_credentials_only_loopback_is_accepted(text: str) -> None:
    with pytest.raises(Invalid, match="is not loopback and no credential is configured"):
        open_listeners(["127.0.0.1:0", text], credentials=False)


def test_with_credentials_any_address_is_accepted() -> None:
    listeners = open_listeners(["0.0.0.0:0"], credentials=True)
    assert str(listeners).startswith("http://0.0.0.0:")
    listeners.close()


def test_a_unix_socket_is_its_owners_only_and_goes_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    listeners = open_listeners([f"unix:{path}"], credentials=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(listeners) == f"unix:{path}"
    listeners.close()
    assert not path.exists()


def test_the_socket_of_a_dead_server_is_taken_over_and_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    listeners = open_listeners([f"unix:{path}"], credentials=False)
    with pytest.raises(Conflict, match="another server answers there"):
        open_listeners([f"unix:{path}"], credentials=False)
    assert path.exists()
    listeners.close()


def test_an_inherited_socket_keeps_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        listeners = open_listeners([f"fd:{opened.detach()}"], credentials=False)
    assert str(listeners) == f"http://127.0.0.1:{port}"
    listeners.close()


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as idle, pytest.raises(Invalid, match="is not a listening stream socket"):
        open_listeners([f"fd:{idle.fileno()}"], credentials=False)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Conflict, match=f"cannot listen on {where}: Address already in use"):
            open_listeners([where], credentials=False)
