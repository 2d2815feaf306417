"""Which server a command talks to, and with which token."""

from pathlib import Path

import pytest

from weft.client.context import Context, context_files, find_context
from weft.client.endpoint import TlsFiles
from weft.model.errors import Invalid


@pytest.fixture
def machine_file(tmp_path: Path) -> Path:
    path = tmp_path / "client.toml"
    path.write_text('server = "unix:/run/weft/lab/server.sock"\ntoken = "lab"\n')
    return path


def test_without_anything_it_is_the_loopback() -> None:
    assert find_context(environment={}, files=[]) == Context("http://127.0.0.1:9696")


def test_flag_before_environment_before_file(machine_file: Path) -> None:
    environment = {"WEFT_SERVER": "http://b", "WEFT_TOKEN": "tb"}
    found = find_context("http://a", "ta", environment=environment, files=[machine_file])
    assert found == Context("http://a", "ta", source="--server")
    found = find_context(environment=environment, files=[machine_file])
    assert found == Context("http://b", "tb", source="WEFT_SERVER")
    found = find_context(environment={}, files=[machine_file.with_name("none"), machine_file])
    assert found == Context("unix:/run/weft/lab/server.sock", "lab", source=str(machine_file))


def test_a_files_token_is_not_sent_to_another_server(machine_file: Path) -> None:
    assert find_context("http://elsewhere", environment={}, files=[machine_file]).token is None


def test_a_token_alone_goes_with_the_files_server(machine_file: Path) -> None:
    found = find_context(token="mine", environment={}, files=[machine_file])
    assert (found.server, found.token) == ("unix:/run/weft/lab/server.sock", "mine")


@pytest.mark.parametrize("text", ["server = ", 'token = "t"\n', 'server = "http://a"\ntokn = "t"\n'])
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=r"client\.toml is no context file"):
        find_context(environment={}, files=[path])


def test_the_users_file_comes_before_the_machines() -> None:
    user, machine = context_files({"XDG_CONFIG_HOME": "/home/me/.config"})
    assert (str(user), str(machine)) == ("/home/me/.config/weft/client.toml", "/run/weft/client.toml")


def test_certificates_are_found_as_tokens_are(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text('server = "https://a"\nca_file = "ca"\ncertificate_file = "own"\nkey_file = "key"\n')
    assert find_context(environment={}, files=[path]).tls == TlsFiles("ca", "own", "key")
    assert find_context("https://b", environment={}, files=[path]).tls == TlsFiles()
    environment = {"WEFT_CA_FILE": "ca2", "WEFT_CERTIFICATE_FILE": "own2"}
    assert find_context(environment=environment, files=[path]).tls == TlsFiles("ca2", "own2", None)
    found = find_context(tls=TlsFiles(None, "own3", "key3"), environment=environment, files=[path])
    assert found.tls == TlsFiles("ca2", "own3", "key3")
    assert find_context(environment=environment, files=[]).tls == TlsFiles("ca2", "own2", None)
