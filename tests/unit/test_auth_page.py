"""The settings and the token file that docs/auth.md shows are such as a server takes."""

import re
import tomllib
from pathlib import Path

import pytest

from weft.agent.settings import parse as parse_agent
from weft.api.auth.configured import authentication
from weft.api.auth.token_file import parse_token
from weft.api.settings import load_settings
from weft.api.tls import tls_files
from weft.model.errors import Invalid

PAGE = (Path(__file__).parents[2] / "docs" / "auth.md").read_text()
TOML = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(text)
    return path


def test_the_servers_settings_are_all_taken_together(tmp_path: Path) -> None:
    of_server = [block for block in TOML if "server = " not in block]
    assert len(of_server) == 4
    tables = "\n".join(sorted(of_server, key=lambda block: block.startswith("[")))
    settings = load_settings(written(tmp_path, tables), {})
    assert settings.keystone is not None
    assert settings.keystone.roles["manager"] == "member"
    assert settings.jwt[0].roles_claim == "realm_access.roles"
    assert settings.limits.watches_per_caller == 100
    assert settings.nodes_need_certificate
    assert tls_files(settings) is not None


def test_the_agents_settings_are_taken() -> None:
    (block,) = [block for block in TOML if "server = " in block]
    settings = parse_agent({"node": "node1", "nics": ["eth0"], **tomllib.loads(block)})
    assert settings.certificate_file == "/etc/weft/node1.pem"


def test_the_lines_of_the_token_file_are_taken() -> None:
    (block,) = re.findall(r"^# TOKEN or.*?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert [parse_token(line)[1].expires_at is None for line in block.splitlines()] == [True, False, True, True]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[keystone]\nauth_url = "http://k"\nsecret_file = "/s"', "username or application_credential_id"),
        ('[keystone]\nauth_url = "http://k"\nusername = "u"', "secret_file"),
        ('[[jwt]]\nissuer = "i"', "audience"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\nalgorithms = ["HS256"]', "HS256"),
        ('[[jwt]]\nissuer = "i"\naudience = "a"\njwks_file = "/f"\njwks_url = "http://u"', "not both"),
        ("[limits]\nmax_body_bytes = 0", "max_body_bytes"),
        ("[limits]\nrequests_per_s = -1.0", "requests_per_s"),
        ("[limits]\nbusrt = 1", "busrt"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        load_settings(written(tmp_path, text), {})


def test_an_issuer_stands_once(tmp_path: Path) -> None:
    issuer = '[[jwt]]\nissuer = "i"\naudience = "a"\njwks_url = "http://u"\n'
    with pytest.raises(Invalid, match="same issuer"):
        authentication(load_settings(written(tmp_path, issuer * 2), {}))


def test_no_credential_is_needed_to_trust_everybody_and_any_ends_that(tmp_path: Path) -> None:
    assert authentication(load_settings(None, {})).trusting
    tls = 'tls_certificate = "/c"\ntls_key = "/k"\ntls_client_ca = "/a"\n'
    issuer = '[[jwt]]\nissuer = "i"\naudience = "a"\njwks_url = "http://u"\n'
    for text in (tls, issuer):
        assert not authentication(load_settings(written(tmp_path, text), {})).trusting
