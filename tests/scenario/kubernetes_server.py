"""A Kubernetes API server on loopback, over TLS: lists in pieces, watches with bookmarks, and all the ways to fail.

What it has is `state` (kubernetes_state.State). It reads, and never writes: list, watch and get of pods, namespaces and
StatefulSets, whole or as metadata, by bearer token, with the rights of a role if it is given rules.
"""

import asyncio
import base64
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import h11
import yaml
from certificates import Authority
from fake_clock import FakeClock
from kubernetes_state import FIELDS, KINDS, Json, Kind, State, metadata_only, selected, status

USER = "system:serviceaccount:weft-system:weft-agent"


@dataclass
class Request:
    """What was asked: verb is get, list or watch."""

    verb: str
    kind: Kind
    namespace: str | None
    name: str | None
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Fault:
    """What becomes of the next request of a verb, instead of an answer."""

    verb: str
    code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    """Sent as it is; with no code, after the head of a good answer. Then the connection is cut."""
    hang: bool = False


@dataclass(frozen=True)
class Rule:
    """What a role allows (RBAC)."""

    group: str
    resource: str
    verb: str


class FakeKubernetes:
    """Run it with `serving`. Timeouts of watches pass by `clock`."""

    def __init__(self, folder: Path) -> None:
        self.state = State()
        self.clock = FakeClock()
        self.tokens = {"token-1"}
        self.rules: set[Rule] | None = None
        """None: everything is allowed."""
        self.knows_partial = True
        self.gone_by_status = False
        """Whether an old watch is refused by HTTP status 410, instead of an ERROR event."""
        self.cached_at: int | None = None
        """The revision that lists at resourceVersion=0 are of; None: the present."""
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.watches = 0
        """Those that are open."""
        self.bookmarks = 0
        """Those that were sent."""
        self._bookmarks = 0
        self._folder = folder
        self._authority = Authority(folder, "kubernetes-ca")
        certificate, key = self._authority.issue("kube-apiserver", file="apiserver")
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._tls.load_verify_locations(self._authority.certificate)
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    # --- what a test does to it ---

    def put(self, plural: str, name: str, namespace: str = "shop", *, node: str = "", **metadata: object) -> Json:
        made = self.state.put(plural, name, namespace, node=node, **metadata)
        self._tell()
        return made

    def delete(self, plural: str, name: str, namespace: str = "shop") -> None:
        self.state.delete(plural, name, namespace)
        self._tell()

    def bookmark(self) -> None:
        """Let every watch be told the present revision."""
        self._bookmarks += 1
        self._tell()

    def end_watches(self) -> None:
        """End every watch as it ends after its timeoutSeconds."""
        self._ending.set()
        self._ending = asyncio.Event()
        self._tell()

    async def stop(self) -> None:
        """Cut every connection, and accept none."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for each in list(self._connections):
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def start(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition is true of what the server sees."""
        async with asyncio.timeout(20):
            while not condition():
                await self._changed.wait()

    def asked(self, verb: str, plural: str) -> int:
        return sum(each.verb == verb and each.kind.plural == plural for each in self.requests)

    # --- how it is reached ---

    def kubeconfig(self, *, token: str | None = "token-1", user: Json | None = None, **contexts: Json) -> Path:
        """Write a kubeconfig and return its file; its context `fake` is the current one."""
        authority = base64.b64encode(self._authority.certificate.read_bytes()).decode()
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "agent", "user": user if user is not None else {"token": token}}],
            "contexts": [
                {"name": "fake", "context": {"cluster": "fake", "user": "agent"}},
                *({"name": name, "context": context} for name, context in contexts.items()),
            ],
            "current-context": "fake",
        }
        path = self._folder / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def service_account(self, token: str = "token-1") -> Path:
        """Write what the kubelet mounts into a pod, and return the folder."""
        folder = self._folder / "serviceaccount"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(token)
        (folder / "namespace").write_text("weft-system")
        (folder / "ca.crt").write_bytes(self._authority.certificate.read_bytes())
        return folder

    def client_certificate(self, name: str) -> Json:
        """Return the user of a kubeconfig who proves by a certificate who it is."""
        files = self._authority.issue(name, file="client")
        keys = ("client-certificate-data", "client-key-data")
        return {key: base64.b64encode(file.read_bytes()).decode() for key, file in zip(keys, files, strict=True)}

    # --- how it answers ---

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        http = h11.Connection(h11.SERVER)
        try:
            while (asked := await _next_request(http, reader)) is not None:
                await self._answer(asked, http, writer)
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    break
                http.start_next_cycle()
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # asyncio would print what a connection ends with
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _answer(self, asked: h11.Request, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
        headers = {name.decode(): value.decode() for name, value in asked.headers}
        target = urlsplit(asked.target.decode())
        query = {key: values[-1] for key, values in parse_qs(target.query, keep_blank_values=True).items()}
        request = _request(target.path, query, headers)

        async def send(code: int, body: Json, **more: str) -> None:
            writer.write(_head(http, code, **more) + _data(http, body) + _end(http))
            await writer.drain()

        bearer = headers.get("authorization", "")
        certificate = writer.get_extra_info("peercert")
        if not certificate and bearer.removeprefix("Bearer ") not in self.tokens:
            await send(401, status(401, "Unauthorized", "Unauthorized"))
            return
        if request is None:
            await send(404, status(404, "NotFound", "the server could not find the requested resource"))
            return
        self.requests.append(request)
        self._tell()
        if self.faults and self.faults[0].verb == request.verb:
            await self._fail(self.faults.popleft(), http, writer)
            return
        if (refusal := self._refusal(request)) is not None:
            await send(refusal["code"], refusal)
        elif request.verb == "get":
            found = self.state.at(request.kind.plural).get((request.namespace or "", request.name or ""))
            missing = f'{request.kind.plural} "{request.name}" not found'
            said = status(404, "NotFound", missing, name=request.name, kind=request.kind.plural)
            await (send(404, said) if found is None else send(200, self._shown(found, request)))
        elif request.verb == "list":
            said = self._list(request)
            await send(said.get("code", 200), said)
        else:
            await self._watch(request, http, writer)

    async def _fail(self, fault: Fault, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
        if fault.hang:
            await self._ending.wait()
        elif fault.code:
            body = fault.body or json.dumps(status(fault.code, "Fault", "as the test wants it")).encode()
            length = {"content-length": str(len(body))}
            writer.write(_head(http, fault.code, **length, **fault.headers) + _raw(http, body) + _end(http))
            await writer.drain()
        else:
            writer.write(_head(http, 200) + _raw(http, fault.body))
            await writer.drain()
        if not fault.code:
            raise ConnectionAbortedError("as the test wants it")

    def _refusal(self, request: Request) -> Json | None:
        group = request.kind.group_version.rpartition("/")[0]
        rule = Rule(group, request.kind.plural, request.verb)
        if self.rules is not None and rule not in self.rules:
            where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
            what = f'{request.kind.plural} is forbidden: User "{USER}" cannot {request.verb} resource'
            return status(403, "Forbidden", f'{what} "{request.kind.plural}" in API group "{group}" {where}')
        for part in _parts(request):
            name = part.partition("=")[0]
            if name not in FIELDS or (name == "spec.nodeName" and request.kind.plural != "pods"):
                return status(400, "BadRequest", f'field label not supported: "{name}"')
        return None

    def _shown(self, found: Json, request: Request) -> Json:
        partial = self.knows_partial and "as=PartialObjectMetadata" in request.headers.get("accept", "")
        return metadata_only(found) if partial else found

    def _list(self, request: Request) -> Json:
        version, limit = request.query.get("resourceVersion"), int(request.query.get("limit", 0))
        at, start = self.state.revision, ("", "")
        if after := request.query.get("continue"):
            token = json.loads(base64.urlsafe_b64decode(after))
            at, start = token["rv"], tuple(token["start"])
            if at < self.state.compacted:
                return status(410, "Expired", "The provided continue parameter is too old to display a consistent list")
        elif version == "0" and self.cached_at is not None:
            at = self.cached_at
        elif version and int(version) > self.state.revision:
            return status(504, "Timeout", f"Too large resource version: {version}", retryAfterSeconds=1)
        selector = _selector(request)
        found = [
            (key, each)
            for key, each in self.state.at(request.kind.plural, at).items()
            if key > start and request.namespace in {None, key[0]} and selected(each, selector)
        ]
        shown, rest = (found[:limit], found[limit:]) if limit else (found, [])
        meta: Json = {"resourceVersion": str(at)}
        if rest:
            token = json.dumps({"rv": at, "start": shown[-1][0]}).encode()
            meta["continue"] = base64.urlsafe_b64encode(token).decode()
        partial = self.knows_partial and "as=PartialObjectMetadataList" in request.headers.get("accept", "")
        kind = "PartialObjectMetadata" if partial else request.kind.kind
        items = [self._shown(each, request) for _, each in shown]
        version_of = "meta.k8s.io/v1" if partial else request.kind.group_version
        return {"kind": f"{kind}List", "apiVersion": version_of, "metadata": meta, "items": items}

    async def _watch(self, request: Request, http: h11.Connection, writer: asyncio.StreamWriter) -> None:
        at = int(request.query.get("resourceVersion") or 0)
        old = status(410, "Expired", f"too old resource version: {at} ({self.state.compacted})")
        is_old = 0 < at < self.state.compacted
        if is_old and self.gone_by_status:
            writer.write(_head(http, 410) + _data(http, old) + _end(http))
            return await writer.drain()
        writer.write(_head(http, 200))
        if is_old:
            writer.write(_line(http, "ERROR", old) + _end(http))
            return await writer.drain()
        await writer.drain()
        over = asyncio.ensure_future(self.clock.sleep(float(request.query.get("timeoutSeconds", 1800))))
        await asyncio.sleep(0)  # it sleeps, before anybody hears of the watch and moves the clock
        with self._open_watch():
            await self._say(request, at, over, http, writer)
        return None

    @contextlib.contextmanager
    def _open_watch(self):  # type: ignore[no-untyped-def]
        self.watches += 1
        self._tell()
        try:
            yield
        finally:
            self.watches -= 1
            self._tell()

    async def _say(
        self,
        request: Request,
        at: int,
        over: asyncio.Future[None],
        http: h11.Connection,
        writer: asyncio.StreamWriter,
    ) -> None:
        selector, ending, bookmarks = _selector(request), self._ending, self._bookmarks
        # A watch from a state that was never here says nothing until it has come.
        try:
            while not ending.is_set():
                waiting = asyncio.ensure_future(self._changed.wait())
                for revision, what, found in list(self.state.events(request.kind.plural, at, selector)):
                    writer.write(_line(http, what, self._shown(found, request)))
                    at = revision
                # As 1.20 does it: one before the watch ends by its time. Later versions send one every minute, too.
                due = bookmarks < self._bookmarks or over.done()
                if due and "allowWatchBookmarks" in request.query and at <= self.state.revision:
                    bookmarks, at = self._bookmarks, self.state.revision
                    mark = {"kind": request.kind.kind, "apiVersion": request.kind.group_version, "spec": {}}
                    mark["metadata"] = {"resourceVersion": str(at), "creationTimestamp": None}
                    writer.write(_line(http, "BOOKMARK", self._shown(mark, request)))
                    self.bookmarks += 1
                    self._tell()
                await writer.drain()
                if writer.transport.is_closing():
                    return
                if over.done():
                    break
                await asyncio.wait({waiting, over}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            writer.write(_end(http))
            await writer.drain()
        finally:
            over.cancel()


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[FakeKubernetes]:
    """Run an API server in this event loop."""
    made = FakeKubernetes(folder)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def _request(path: str, query: dict[str, str], headers: dict[str, str]) -> Request | None:
    for kind in KINDS.values():
        if not path.startswith(kind.root + "/"):
            continue
        parts = path.removeprefix(kind.root + "/").split("/")
        namespace = None
        if kind.namespaced and parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        if parts[0] == kind.plural and len(parts) <= 2:
            name = parts[1] if len(parts) == 2 else None
            verb = "get" if name else "watch" if query.get("watch") in {"1", "true"} else "list"
            return Request(verb, kind, namespace, name, query, headers)
    return None


def _parts(request: Request) -> list[str]:
    return [part for part in request.query.get("fieldSelector", "").split(",") if part]


def _selector(request: Request) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in _parts(request))


async def _next_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    found = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Request):
            found = event
        elif isinstance(event, h11.EndOfMessage):
            return found
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


def _head(http: h11.Connection, code: int, **headers: str) -> bytes:
    given = [("content-type", "application/json"), *headers.items()]
    return http.send(h11.Response(status_code=code, headers=given)) or b""


def _raw(http: h11.Connection, body: bytes) -> bytes:
    return http.send(h11.Data(data=body)) or b""


def _data(http: h11.Connection, body: Json) -> bytes:
    return _raw(http, json.dumps(body).encode())


def _line(http: h11.Connection, what: str, found: Json) -> bytes:
    return _raw(http, json.dumps({"type": what, "object": found}).encode() + b"\n")


def _end(http: h11.Connection) -> bytes:
    return http.send(h11.EndOfMessage()) or b""
