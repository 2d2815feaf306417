"""The server: API and controllers on one store, in one process or several, until told to stop.

Sockets are opened first and given up last. On SIGTERM or SIGINT no new connection is accepted, streams end, requests
that run are answered, then the controllers stop, and then the store is closed: whatever was answered is durable.
"""

import asyncio
import contextlib
import dataclasses
import gc
import importlib.util
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
import uvicorn
import uvloop

import weft
from weft.api.app import Api
from weft.api.auth.authenticator import Authentication
from weft.api.auth.configured import authentication, own_login
from weft.api.connection import SWEEP_EVERY_S, Connection, sweep
from weft.api.listen import Listeners, open_listeners
from weft.api.processes import supervise
from weft.api.relay import Relay
from weft.api.settings import ServerSettings
from weft.api.tls import Tls, tls_files
from weft.controller.controllers import Controllers
from weft.controller.nova.client import client_of
from weft.model.errors import Invalid, Permanent
from weft.model.inventory import Dialect, Switch
from weft.store import Engine, Store, open_engine
from weft.switches.driver import DriverSettings, SwitchDriver, driver_for

GC_THRESHOLDS = (50_000, 20, 100)
"""What a request makes is mostly no garbage when a young collection comes after 700 objects; and collecting the old
ones costs the more, the more there are. See gc.set_threshold."""
STOP_TIMEOUT_S = 1
"""How long requests that still run may hold up the stop."""


def run(settings: ServerSettings) -> None:
    """Run a server until SIGTERM or SIGINT. Raises Invalid, Conflict or Permanent if it cannot start."""
    _configure_logs()
    _refuse_clusters_without_client(settings)
    by = authentication(settings)
    files = tls_files(settings)
    tls = None if files is None else Tls(files)
    credentials, secure = not by.trusting, tls is not None
    listeners = open_listeners(settings.listen, credentials=credentials, secure=secure, processes=settings.processes)
    try:
        engine = open_engine(settings.db)
        greeting = _greeting(engine, listeners, by)
        one = _Process(settings, by, tls, listeners.shares[0], engine, lambda: print(greeting, flush=True))
        if settings.processes == 1:
            one.run()
        else:
            _run_several(one, listeners)
    finally:
        listeners.close()


def _refuse_clusters_without_client(settings: ServerSettings) -> None:
    if settings.kubernetes and importlib.util.find_spec("lightkube") is None:
        raise Invalid("[[kubernetes]] needs a client of Kubernetes: install weft[kubernetes]")


@dataclass(frozen=True)
class _Process:
    """A process that serves: what it needs, opened."""

    settings: ServerSettings
    by: Authentication
    tls: Tls | None
    sockets: Sequence[socket.socket]
    engine: Engine
    ready: Callable[[], None]
    """Is called once it serves."""
    relay: Relay | None = None
    """To the first process, if there are several."""
    is_first: bool = True

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(self))


def _run_several(one: _Process, listeners: Listeners) -> None:
    """Run as many processes as the settings say, of which the first has the controllers."""
    count = one.settings.processes
    one.engine.share()
    relay = Relay.new()
    limits = one.settings.limits.shared_by(count)

    def serve(number: int, ready: Callable[[], None]) -> None:
        sockets = listeners.shares[number] + ([asked] if number == 0 else [])
        controllers = one.settings.controllers and number == 0
        settings = msgspec.structs.replace(one.settings, limits=limits, controllers=controllers)
        own = dataclasses.replace(one, settings=settings, sockets=sockets, ready=ready)
        dataclasses.replace(own, relay=relay, is_first=number == 0).run()

    try:
        with relay.listen() as asked:
            supervise(count, serve, one.ready)
    finally:
        one.engine.release()


async def _serve(process: _Process) -> None:
    """Serve in this event loop until SIGTERM or SIGINT."""
    settings, by, tls = process.settings, process.by, process.tls
    store = await Store.open(process.engine)
    try:
        nova = None if settings.nova is None else client_of(settings.nova, own_login(settings))
        controllers = Controllers(
            store, lambda switch, term: _driver(switch, term, settings), nova=nova, clusters=settings.kubernetes
        )
        api = Api(
            store,
            controllers,
            authentication=by,
            limits=settings.limits,
            project=settings.project,
            relay=process.relay,
            is_first=process.is_first,
        )
        http = HttpServer(api, tls)
        beside = _beside(controllers.run(), http.stop) if settings.controllers else contextlib.nullcontext()
        renewing = contextlib.nullcontext() if tls is None else _beside(tls.follow(), http.stop)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        async with api.running(), beside, renewing:
            process.ready()
            await http.serve(list(process.sockets))
    finally:
        await store.close()


class HttpServer(uvicorn.Server):
    """uvicorn, stopped by this process' own signal handlers and never kept waiting by a stream."""

    def __init__(self, api: Api, tls: Tls | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                api.app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
        )
        self._stop_streams = api.stop_streams
        self._tls = tls

    def stop(self) -> None:
        """Begin to stop; `serve` returns when that is done."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT. uvicorn's own way raises the signal again, before the store could be closed."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve the open sockets: TCP with TLS if there is any, unix sockets always without."""
        assert sockets is not None
        servers = []
        for each in sockets:
            self.config.ssl = self._tls.context if self._tls is not None and each.family != socket.AF_UNIX else None
            await super().startup([each])
            servers += self.servers
        self.servers = servers

    async def on_tick(self, counter: int) -> bool:
        """Do what is due now and then; called ten times a second. Return whether it is time to stop."""
        if counter % (SWEEP_EVERY_S * 10) == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and return when every connection is closed or STOP_TIMEOUT_S is over."""
        self._stop_streams()
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], stop: Callable[[], None]) -> AsyncIterator[None]:
    """Run the controllers within the context. If they fail, the server stops, and the failure is raised at the end."""
    task = asyncio.create_task(work)

    def ended(_: asyncio.Task[None]) -> None:
        stop()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _greeting(engine: Engine, listeners: Listeners, by: Authentication) -> str:
    known = [*(["tokens"] if by.sources else []), *(["nodes' certificates"] if by.certificates else [])]
    told = ", ".join(known) or "no credential configured: loopback and unix only, everybody may do everything"
    return f"weft {weft.__version__} listens on {listeners} ({told}), database {engine.url}"


def _configure_logs() -> None:
    """Write events to stderr: for people on a terminal, as a JSON object a line elsewhere."""
    shown: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        shown = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            shown,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line at once: processes share it
    )


def _driver(switch: Switch, term: int, settings: ServerSettings) -> SwitchDriver:
    """Return the driver of a switch; raise Permanent if the server was given no key to log in with."""
    if settings.switch_key is None and switch.dialect is not Dialect.EOS:
        raise Permanent("this server has no key to log in to switches with; start it with --switch-key PATH")
    login = DriverSettings(
        key_file=settings.switch_key,
        user=settings.switch_user,
        known_hosts=settings.switch_known_hosts,
        eapi_user=settings.eapi_user,
        eapi_password_file=settings.eapi_password_file,
        eapi_ca=settings.eapi_ca,
        term=term,
    )
    return driver_for(switch, login)
