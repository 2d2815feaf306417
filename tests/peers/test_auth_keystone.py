"""Tokens of a real Keystone: who they make of a caller, and that revoked ones are found out."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from keystone_process import PASSWORD, Keystone, running_keystone
from openstack_program import DEADLINE_S, Shell

from weft.api.access import Caller, Role, Unauthenticated, User
from weft.api.app import Api
from weft.api.auth.authenticator import Authentication
from weft.api.auth.credential import Credential
from weft.api.auth.keystone import KeystoneSettings, KeystoneTokens
from weft.api.auth.remote import Remote
from weft.client.openstack import cloud_context
from weft.model.errors import Forbidden, Transient
from weft.store import Store


@dataclass
class Cloud:
    """A Keystone with two projects, their people, and the servers' own user."""

    keystone: Keystone
    red: str
    blue: str
    services: str
    settings: KeystoneSettings


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("keystone")
    with running_keystone(folder) as keystone:
        red, blue, services = (keystone.project(name) for name in ("red", "blue", "service"))
        keystone.user("ann", "ann", red, "member")
        keystone.user("bob", "bob", blue, "reader")
        keystone.user("eve", "eve", red, "auditor")
        keystone.user("nova", "nova", services, "service")
        keystone.user("weft", "s3cret", services, "service")
        (folder / "secret").write_text("s3cret\n")
        yield Cloud(
            keystone,
            red,
            blue,
            services,
            KeystoneSettings(auth_url=keystone.url, username="weft", secret_file=folder / "secret", cache_s=0),
        )


def tokens_of(settings: KeystoneSettings) -> KeystoneTokens:
    return KeystoneTokens(settings, Remote("Keystone"), time.time)


@pytest.fixture
async def tokens(cloud: Cloud) -> AsyncIterator[KeystoneTokens]:
    source = tokens_of(cloud.settings)
    yield source
    await source.close()


async def test_callers_have_the_project_and_roles_of_their_tokens(cloud: Cloud, tokens: KeystoneTokens) -> None:
    async def shown(*login: str, **scope: str | bool) -> Caller | None:
        return await tokens.caller_of(Credential(cloud.keystone.login(*login, **scope)))  # type: ignore[arg-type]

    def roles_in(caller: Caller | None, project: str | None) -> set[Role]:
        assert isinstance(caller, User)
        assert caller.project_id == project
        return set(caller.roles)

    assert roles_in(await shown("ann", "ann", project="red"), cloud.red) == {Role.MEMBER, Role.READER}
    assert roles_in(await shown("bob", "bob", project="blue"), cloud.blue) == {Role.READER}
    assert roles_in(await shown("eve", "eve", project="red"), cloud.red) == set()
    assert roles_in(await shown("nova", "nova", project="service"), cloud.services) == {Role.SERVICE}
    assert roles_in(await shown("ann", "ann"), None) == set()
    admin = await shown("admin", PASSWORD, system=True)
    assert roles_in(admin, None) >= {Role.ADMIN}
    assert isinstance(admin, User)
    assert admin.is_admin


async def test_a_revoked_token_and_one_that_was_never_given_are_refused(cloud: Cloud, tokens: KeystoneTokens) -> None:
    token = cloud.keystone.login("ann", "ann", project="red")
    assert await tokens.caller_of(Credential(token)) is not None
    cloud.keystone.revoke(token)
    for bad in (token, token[:-8] + "AAAAAAA=", "0123456789abcdef0123456789abcdef"):
        with pytest.raises(Unauthenticated):
            await tokens.caller_of(Credential(bad))


async def test_a_service_passes_on_a_users_request(cloud: Cloud, tokens: KeystoneTokens) -> None:
    user = cloud.keystone.login("ann", "ann", project="red")
    nova = cloud.keystone.login("nova", "nova", project="service")
    found = await tokens.caller_of(Credential(user, nova))
    assert isinstance(found, User)
    assert (found.project_id, found.roles) == (cloud.red, {Role.MEMBER, Role.READER, Role.SERVICE})


async def test_an_application_credential_is_as_good_as_a_password(cloud: Cloud, tmp_path: Path) -> None:
    own = cloud.keystone.login("weft", "s3cret", project="service")
    user = cloud.keystone.call("GET", "/users?name=weft")["users"][0]["id"]
    wanted = {"application_credential": {"name": "server"}}
    path = f"/users/{user}/application_credentials"
    made = cloud.keystone.call("POST", path, wanted, **{"X-Auth-Token": own})["application_credential"]
    secret = tmp_path / "secret"
    secret.write_bytes(made["secret"].encode())
    tokens = tokens_of(
        KeystoneSettings(auth_url=cloud.keystone.url, application_credential_id=made["id"], secret_file=secret)
    )
    assert await tokens.caller_of(Credential(cloud.keystone.login("ann", "ann", project="red"))) is not None
    await tokens.close()


async def test_a_server_whose_own_password_is_wrong_says_that_it_cannot_tell(cloud: Cloud, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"wrong")
    tokens = tokens_of(KeystoneSettings(auth_url=cloud.keystone.url, username="weft", secret_file=secret))
    with pytest.raises(Transient, match="401 to the login of this server"):
        await tokens.caller_of(Credential(cloud.keystone.login("ann", "ann", project="red")))
    await tokens.close()


def test_a_client_finds_server_and_token_by_its_cloud(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystone = cloud.keystone
    service = keystone.call("POST", "/services", {"service": {"type": "network", "name": "weft"}})["service"]["id"]
    endpoint = {"service_id": service, "interface": "public", "region_id": "one", "url": "https://weft.example:9696"}
    keystone.call("POST", "/endpoints", {"endpoint": endpoint})
    domains = "user_domain_name: Default, project_domain_name: Default"
    auth = f"{{auth_url: '{keystone.url}', username: ann, password: ann, project_name: red, {domains}}}"
    (tmp_path / "clouds.yaml").write_text(f"clouds: {{red: {{auth: {auth}, region_name: one}}}}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    found = cloud_context("red", None)
    assert found.server == "https://weft.example:9696"
    headers = {"X-Subject-Token": found.token or ""}
    assert keystone.call("GET", "/auth/tokens", **headers)["token"]["project"]["id"] == cloud.red
    (tmp_path / "clouds.yaml").write_text(
        f"clouds: {{red: {{auth: {auth.replace('password: ann', 'password: x')}}}}}\n"
    )
    with pytest.raises(Forbidden, match="refuses the login of red"):
        cloud_context("red", None)


async def test_the_api_lets_in_whom_keystone_knows(cloud: Cloud, tokens: KeystoneTokens, tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path / 'weft.db'}")
    api = Api(store, dict, authentication=Authentication(sources=(tokens,)))
    transport = httpx.ASGITransport(api.app)
    async with api.running(), httpx.AsyncClient(transport=transport, base_url="http://weft.example") as http:

        async def status(method: str, path: str, token: str | None, body: object = None) -> int:
            headers = {"X-Auth-Token": token} if token else {}
            return (await http.request(method, path, headers=headers, json=body)).status_code

        ann = cloud.keystone.login("ann", "ann", project="red")
        bob = cloud.keystone.login("bob", "bob", project="blue")
        eve = cloud.keystone.login("eve", "eve", project="red")
        network = {"network": {"name": "n"}}
        site = {"sites": [{"name": "s", "fabric": {}}]}
        assert await status("PUT", "/v1/inventory", cloud.keystone.admin_token, site) == 200
        assert await status("GET", "/v2.0/networks", None) == 401
        assert await status("GET", "/v2.0/networks", "unknown") == 401
        assert await status("POST", "/v2.0/networks", ann, network) == 201
        assert await status("POST", "/v2.0/networks", bob, network) == 403
        assert await status("GET", "/v2.0/networks", bob) == 200
        assert await status("GET", "/v2.0/networks", eve) == 403
        assert await status("GET", "/v1/inventory", ann) == 403
        assert await status("GET", "/v1/inventory", cloud.keystone.admin_token) == 200
    await store.close()


SERVER = """
listen = ["127.0.0.1:0"]
db = "sqlite:///{folder}/weft.db"
[keystone]
auth_url = "{keystone.url}"
username = "weft"
secret_file = "{secret}"
"""


@pytest.fixture
def region(cloud: Cloud, tmp_path: Path) -> Iterator[str]:
    """A server process that asks Keystone, and the region of Keystone's catalog that it is in."""
    keystone = cloud.keystone
    config = tmp_path / "server.toml"
    config.write_text(SERVER.format(folder=tmp_path, keystone=keystone, secret=cloud.settings.secret_file))
    with (tmp_path / "server.log").open("w") as log:
        command = [str(Path(sys.executable).with_name("weft")), "server", "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
        headers = {"X-Auth-Token": keystone.admin_token}
        site = {"sites": [{"name": "s", "fabric": {}}]}
        httpx.put(f"{url}/v1/inventory", json=site, headers=headers, timeout=DEADLINE_S).raise_for_status()
        keystone.call("POST", "/regions", {"region": {"id": "two"}})
        for type_, where in (("identity", keystone.url), ("network", url)):
            (service,) = keystone.call("GET", f"/services?type={type_}")["services"] or [
                keystone.call("POST", "/services", {"service": {"type": type_, "name": type_}})["service"]
            ]
            for interface in ("public", "admin"):
                endpoint = {"service_id": service["id"], "interface": interface, "region_id": "two", "url": where}
                keystone.call("POST", "/endpoints", {"endpoint": endpoint})
        yield "two"
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()


def test_the_openstack_command_logs_in_and_finds_the_server(cloud: Cloud, region: str) -> None:
    def shell(user: str, password: str, project: str) -> Shell:
        return Shell(
            OS_AUTH_URL=cloud.keystone.url,
            OS_USERNAME=user,
            OS_PASSWORD=password,
            OS_PROJECT_NAME=project,
            OS_USER_DOMAIN_NAME="Default",
            OS_PROJECT_DOMAIN_NAME="Default",
            OS_REGION_NAME=region,
            OS_IDENTITY_API_VERSION="3",
        )

    admin, ann = shell("admin", PASSWORD, "admin"), shell("ann", "ann", "red")
    try:
        admin("quota set red --networks 1 --ports 7")
        ann("network create n")
        assert "Quota exceeded" in ann.refused("network create m")
        limits = {each["Resource"]: each["Limit"] for each in ann("quota show --network")}
        assert (limits["networks"], limits["ports"], limits["routers"]) == (1, 7, -1)
        used = {each["Resource"]: each["In Use"] for each in admin("quota show red --network --usage")}
        assert used["networks"] == 1
        (listed,) = admin("quota list --network")
        assert (listed["Project ID"], listed["Networks"]) == (cloud.red, 1)
        admin("quota delete red --network")
        ann("network create m")
        assert [each["Name"] for each in admin(f"network list --project {cloud.red}")] == ["n", "m"]
        assert "disallowed by policy" in ann.refused("network set m --share")
    finally:
        for each in (admin, ann):
            each.close()
