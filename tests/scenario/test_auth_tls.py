"""Real TLS on loopback: whom each side believes, nodes known by certificates, and files that are renewed."""

import asyncio
import contextlib
import re
import ssl
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ADMIN, EXAMPLE
from certificates import Authority
from structlog.testing import capture_logs

from weft.api.app import Api
from weft.api.auth.authenticator import Authentication
from weft.api.auth.token_file import AdminTokens
from weft.api.listen import open_listeners
from weft.api.server import HttpServer
from weft.api.settings import ServerSettings
from weft.api.tls import Tls, TlsFiles, node_of_certificate, tls_files
from weft.client import AsyncClient
from weft.client import TlsFiles as ClientFiles
from weft.model.errors import Forbidden, Invalid, Transient
from weft.protocol.node import NodeDesired
from weft.store import Store


class Server:
    """A server on a TCP and a unix socket, and clients of it."""

    def __init__(self, url: str, socket: Path, tls: Tls, authority: Authority) -> None:
        self.url = url
        self.socket = socket
        self.tls = tls
        self.authority = authority

    @contextlib.asynccontextmanager
    async def client(
        self, token: str | None = None, certificate: tuple[Path, Path] | None = None, *, ca: Path | None = None
    ) -> AsyncIterator[AsyncClient]:
        """Yield a client that believes the authority `ca`, and shows a certificate."""
        shown = (None, None) if certificate is None else (str(certificate[0]), str(certificate[1]))
        files = ClientFiles(str(ca or self.authority.certificate), *shown)
        async with AsyncClient(self.url, token, tls=files) as client:
            yield client

    async def token_of(self, node: str) -> str:
        """Make a new token for a node."""
        async with self.client(ADMIN) as client:
            return (await client.new_token(node)).token or ""


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    authority: Authority | None = None,
    *,
    client_crl: Path | None = None,
    nodes_need_certificate: bool = False,
) -> AsyncIterator[Server]:
    """Run a server that has a certificate and believes those of nodes by the same authority."""
    authority = authority or Authority(folder)
    tls = Tls(TlsFiles(*authority.issue("server", file="server"), authority.certificate, client_crl))
    by = Authentication(
        sources=(AdminTokens([ADMIN]),), certificates=True, nodes_need_certificate=nodes_need_certificate
    )
    store = await Store.open(f"sqlite:///{folder / 'weft.db'}")
    listeners = open_listeners(["127.0.0.1:0", f"unix:{folder / 'weft.sock'}"], credentials=True, secure=True)
    api = Api(store, dict, authentication=by)
    http = HttpServer(api, tls)
    url = str(listeners).partition(",")[0]
    async with api.running():
        running = asyncio.create_task(http.serve(listeners.shares[0]))
        try:
            async with AsyncClient(f"unix:{folder / 'weft.sock'}") as client:
                wire = tomllib.loads(EXAMPLE.read_text())
                del wire["lab"]
                await client.put_inventory(wire)
            yield Server(url, folder / "weft.sock", tls, authority)
        finally:
            http.stop()
            await running
    listeners.close()
    await store.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as running:
        yield running


async def test_tcp_is_encrypted_and_the_unix_socket_is_not(server: Server) -> None:
    assert server.url.startswith("https://127.0.0.1:")
    async with server.client(ADMIN) as client:
        assert await client.networks.list() == []
    async with AsyncClient(server.url.replace("https:", "http:"), ADMIN) as plain:
        with pytest.raises(Transient):
            await plain.networks.list()
    async with AsyncClient(f"unix:{server.socket}") as local:
        assert await local.networks.list() == []


async def test_a_client_believes_only_its_authority(server: Server, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with server.client(ADMIN, ca=other.certificate) as client:
        with pytest.raises(Transient, match=r"cannot be believed.*--ca-file"):
            await client.networks.list()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_old_versions_of_tls_are_refused(server: Server) -> None:
    context = ssl.create_default_context(cafile=server.authority.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, _, port = server.url.removeprefix("https://").partition(":")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(host, int(port), ssl=context)


async def test_a_nodes_certificate_is_as_good_as_its_token(server: Server) -> None:
    certificate = server.authority.issue("node:node1", file="node1")
    async with server.client(None, certificate) as client:
        assert (await client.desired("node1")).node == "node1"
        with pytest.raises(Forbidden, match="good for /v1/nodes/node1 only"):
            await client.desired("node2")
        with pytest.raises(Forbidden):
            await client.networks.list()
        async for message in client.watch_node("node1"):
            assert isinstance(message, NodeDesired)
            break


async def test_another_certificate_says_nothing_and_an_unknown_authoritys_ends_the_handshake(
    server: Server, tmp_path: Path
) -> None:
    async with server.client(None, server.authority.issue("ann", file="ann")) as client:
        with pytest.raises(Forbidden, match="wants a token"):
            await client.desired("node1")
    async with server.client(None, server.authority.issue("node:node1", "node:node2", file="two")) as client:
        with pytest.raises(Forbidden, match="wants a token"):
            await client.desired("node1")
    async with server.client(ADMIN, Authority(tmp_path, "other").issue("node:node1", file="forged")) as client:
        with pytest.raises(Transient):
            await client.desired("node1")


async def test_token_and_certificate_of_different_nodes_are_refused_together(server: Server) -> None:
    token = await server.token_of("node1")
    async with server.client(token, server.authority.issue("node:node2", file="node2")) as client:
        with pytest.raises(Forbidden, match="certificate of node 'node2'"):
            await client.desired("node1")
    async with server.client(ADMIN, server.authority.issue("node:node2", file="node2")) as client:
        assert (await client.desired("node1")).node == "node1"


async def test_where_nodes_need_certificates_a_token_alone_is_not_enough(tmp_path: Path) -> None:
    async with serving(tmp_path, nodes_need_certificate=True) as server:
        token = await server.token_of("node1")
        async with server.client(token) as client:
            with pytest.raises(Forbidden, match="must show its certificate"):
                await client.desired("node1")
        async with server.client(token, server.authority.issue("node:node1", file="node1")) as client:
            assert (await client.desired("node1")).node == "node1"


async def test_renewed_files_count_for_new_connections(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        renewed = Authority(tmp_path, "renewed")
        certificate, key = renewed.issue("server", file="next")
        certificate.rename(tmp_path / "server.pem")
        with capture_logs() as logs:
            server.tls.look()  # the key does not match yet
        assert [each["event"] for each in logs] == ["certificates_not_taken_up"]
        async with server.client(ADMIN) as client:
            assert await client.networks.list() == []
        key.rename(tmp_path / "server.key")
        with capture_logs() as logs:
            server.tls.look()
            server.tls.look()
        assert [each["event"] for each in logs] == ["certificates_taken_up"]
        async with server.client(ADMIN, ca=renewed.certificate) as client:
            assert await client.networks.list() == []


async def test_an_authority_that_is_taken_out_is_not_believed_any_more(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("node:node1", file="node1")
    async with serving(tmp_path, authority) as server:
        own, other = authority.certificate.read_bytes(), Authority(tmp_path, "other").certificate.read_bytes()
        for believed in (own + other, other):
            authority.certificate.write_bytes(believed)
            with capture_logs():
                server.tls.look()
            authority.certificate.write_bytes(own)  # for the client
            async with server.client(None, certificate) as client:
                if believed == other:
                    with pytest.raises(Transient):
                        await client.desired("node1")
                else:
                    assert (await client.desired("node1")).node == "node1"


async def test_a_revoked_certificate_is_refused_also_if_it_is_revoked_later(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    nodes = {f"node{number}": authority.issue(f"node:node{number}", file=f"node{number}") for number in (1, 2, 3)}
    crl = authority.revoke(nodes["node1"][0])
    async with serving(tmp_path, authority, client_crl=crl) as server:
        for revoked in ({"node1"}, {"node1", "node2"}):
            authority.revoke(*(nodes[node][0] for node in revoked))
            with capture_logs():
                server.tls.look()
            for node, certificate in nodes.items():
                async with server.client(None, certificate) as client:
                    if node in revoked:
                        with pytest.raises(Transient):
                            await client.desired(node)
                    else:
                        assert (await client.desired(node)).node == node


PROGRAM = """
import sys
from pathlib import Path
from weft.api.server import run
from weft.api.settings import ServerSettings
folder = Path(sys.argv[1])
run(ServerSettings(
    listen=("127.0.0.1:0", f"unix:{folder}/weft.sock"),
    db=f"sqlite:///{folder}/weft.db",
    tls_certificate=folder / "server.pem",
    tls_key=folder / "server.key",
    tls_client_ca=folder / "authority.pem",
))
"""


async def test_the_server_process_knows_nodes_by_certificates_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("server", file="server")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        greeting = (await process.stdout.readline()).decode()
        assert "(nodes' certificates)" in greeting
        found = re.search(r"https://[0-9.:]+", greeting)
        assert found is not None
        async with AsyncClient(f"unix:{tmp_path / 'weft.sock'}") as local:
            wire = tomllib.loads(EXAMPLE.read_text())
            del wire["lab"]
            await local.put_inventory(wire)
        certificate, key = authority.issue("node:node1", file="node1")
        files = ClientFiles(str(authority.certificate), str(certificate), str(key))
        async with AsyncClient(found[0], tls=files) as agent:
            assert (await agent.desired("node1")).node == "node1"
            with pytest.raises(Forbidden, match="good for /v1/nodes/node1 only"):
                await agent.desired("node2")
        async with AsyncClient(found[0], tls=ClientFiles(str(authority.certificate))) as nobody:
            with pytest.raises(Forbidden, match="wants a token"):
                await nobody.desired("node1")
    finally:
        process.terminate()
        assert await process.wait() == 0


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.issue("a", file="a"), authority.issue("b", file="b")
    for files, named in (
        (TlsFiles(first[0], second[1]), r"b\.key"),
        (TlsFiles(tmp_path / "nosuch", first[1]), "nosuch"),
        (TlsFiles(*first, client_ca=first[1]), r"a\.key"),
    ):
        with pytest.raises(Invalid, match=named):
            Tls(files)


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_certificate": Path("c")},
        {"tls_key": Path("k")},
        {"tls_client_ca": Path("a")},
        {"tls_certificate": Path("c"), "tls_key": Path("k"), "nodes_need_certificate": True},
        {"tls_certificate": Path("c"), "tls_key": Path("k"), "tls_client_crl": Path("r")},
    ],
)
def test_settings_that_lack_something_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        tls_files(ServerSettings(**settings))
    assert tls_files(ServerSettings()) is None


def test_only_one_common_name_of_a_node_names_one() -> None:
    def named(*names: str) -> dict[str, object]:
        return {"subject": tuple((("commonName", name),) for name in names)}

    assert node_of_certificate(named("node:a")) == "a"
    for other in (None, {}, named(), named("a"), named("node:"), named("node:a", "node:a")):
        assert node_of_certificate(other) is None
