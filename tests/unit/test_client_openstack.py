"""Servers found by clouds.yaml and OS_* variables. Logging in to a real Keystone is in tests/scenario."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli import connection
from weft.cli.main import weft
from weft.client import Context, TlsFiles
from weft.client.openstack import cloud_context, cloud_is_named
from weft.model.errors import Invalid, Transient

CLOUDS = """
clouds:
  open:
    auth_type: none
    auth: {endpoint: "http://127.0.0.1:9696"}
    network_endpoint_override: http://127.0.0.1:9696/v2.0/
  pinned:
    auth_type: none
    network_endpoint_override: https://weft.example:9696
    cacert: /etc/ca.pem
    cert: /etc/own.pem
    key: /etc/own.key
  careless:
    auth_type: none
    network_endpoint_override: https://weft.example:9696
    verify: false
  away:
    auth: {auth_url: "http://127.0.0.1:1/v3", username: a, password: b, project_name: c,
           user_domain_name: d, project_domain_name: d}
  half:
    auth: {username: a}
"""


@pytest.fixture(autouse=True)
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text(CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    for name in ("WEFT_SERVER", "WEFT_TOKEN", "OS_CLOUD", "OS_AUTH_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_cloud_without_keystone_names_a_server() -> None:
    assert cloud_context("open", None) == Context("http://127.0.0.1:9696", None, TlsFiles(), "cloud open")
    assert cloud_context("open", "http://other").server == "http://other"


def test_a_cloud_names_authority_and_certificate() -> None:
    assert cloud_context("pinned", None).tls == TlsFiles("/etc/ca.pem", "/etc/own.pem", "/etc/own.key")


@pytest.mark.parametrize(
    ("cloud", "error", "named"),
    [
        ("nosuch", Invalid, "nosuch"),
        ("half", Invalid, "half"),
        ("careless", Invalid, "name the authority as cacert"),
        ("away", Transient, "does not answer"),
    ],
)
def test_what_cannot_work_is_said(cloud: str, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        cloud_context(cloud, None)


def test_the_environment_names_a_cloud() -> None:
    assert cloud_is_named({"OS_AUTH_URL": "http://k"})
    assert not cloud_is_named({"OS_CLOUD": "", "HOME": "/root"})


def test_wefts_own_flags_and_variables_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLOUD", "open")
    assert connection._context(None, None, None, TlsFiles()).source == "cloud open"
    assert connection._context(None, None, "pinned", TlsFiles()).source == "cloud pinned"
    assert connection._context("http://own", None, None, TlsFiles()).server == "http://own"
    monkeypatch.setenv("WEFT_SERVER", "http://mine")
    assert connection._context(None, None, None, TlsFiles()).server == "http://mine"
    assert connection._context("http://own", None, "open", TlsFiles()).source == "cloud open"
    result = CliRunner().invoke(weft, ["status", "--os-cloud", "open", "--token", "t"])
    assert isinstance(result.exception, Invalid)
