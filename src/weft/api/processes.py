"""Several processes that serve the same sockets and the same database: one interpreter keeps one core busy at most.

This process opens everything, forks the others, and from then on does nothing but see to it that they run: one that
dies is replaced, and when it is told to stop, they are. If it dies itself they are killed: the next server must not
find their hands on the database.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import structlog

from weft.model.errors import Permanent, WeftError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
AGAIN_AFTER_S = 1.0
"""How long after its beginning a process that has died is replaced at the earliest."""
STOP_TIMEOUT_S = 15.0
"""How long processes may take to stop before they are killed."""
PR_SET_PDEATHSIG = 1
"""See prctl(2)."""

log = structlog.get_logger()

Serve = Callable[[int, Callable[[], None]], None]
"""Serves as process N until SIGTERM; calls its second argument once it does."""


def supervise(count: int, serve: Serve, ready: Callable[[], None]) -> None:
    """Run `serve` in `count` processes until SIGTERM or SIGINT; call `ready` once all of them serve.

    Raises Permanent if one ends before it has served; it has said why.
    """
    _Family(count, serve, ready).run()


class _Family:
    def __init__(self, count: int, serve: Serve, ready: Callable[[], None]) -> None:
        self._count = count
        self._serve = serve
        self._tell_ready = ready
        self._began: dict[int, tuple[int, float]] = {}
        """By pid: which process it is, and since when."""
        self._due: dict[int, float] = {}
        """When those that are missing are to be begun."""
        self._serving: set[int] = set()
        self._stopping = False
        self._failed: int | None = None

    def run(self) -> None:
        """Keep the processes running until told to stop."""
        with _noticed_signals() as noticed, _pipe() as (self._news, self._news_in):
            self._due = dict.fromkeys(range(self._count), 0.0)
            while not self._stopping:
                self._begin_those_due()
                readable, _, _ = select.select([noticed, self._news], [], [], self._pause_s())
                if self._news in readable:
                    self._hear_news()
                if noticed in readable:
                    self._heed(os.read(noticed, 64))
            self._stop()
        if self._failed is not None:
            raise Permanent(f"process {self._failed} of the server could not begin; its message is above")

    def _begin_those_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            sys.stdout.flush()
            sys.stderr.flush()
            parent = os.getpid()
            if (pid := os.fork()) == 0:
                self._be(number, parent)
            self._began[pid] = (number, now)

    def _be(self, number: int, parent: int) -> None:
        """Be process `number`; does not return."""
        code = 1
        try:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            _die_with(parent)
            structlog.contextvars.bind_contextvars(process=number)
            self._serve(number, lambda: _write(self._news_in, bytes([number])))
            code = 0
        except WeftError as error:
            print(f"weft: process {number}: {error.message}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # what the parent has on its stack is the parent's to end

    def _pause_s(self) -> float | None:
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _hear_news(self) -> None:
        before = len(self._serving)
        self._serving.update(os.read(self._news, 64))
        if before < self._count == len(self._serving):
            self._tell_ready()

    def _heed(self, signals: bytes) -> None:
        if signal.SIGTERM in signals or signal.SIGINT in signals:
            self._stopping = True
        for pid, status in _ended():
            number, began = self._began.pop(pid)
            log.error("server_process_ended", process=number, pid=pid, status=os.waitstatus_to_exitcode(status))
            if number in self._serving:
                self._due[number] = began + AGAIN_AFTER_S
            elif not self._stopping:
                self._failed = number
                self._stopping = True

    def _stop(self) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        self._send(signal.SIGTERM)
        while self._began:
            for pid, _ in _ended():
                self._began.pop(pid, None)
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(0.01)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def _noticed_signals() -> Iterator[int]:
    """Have SIGNALS written to a pipe, a byte each, and return its end to read."""
    with _pipe() as (noticed, notice):
        os.set_blocking(notice, False)
        before = signal.set_wakeup_fd(notice, warn_on_full_buffer=False)
        handlers = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
        try:
            yield noticed
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)
            signal.set_wakeup_fd(before)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _ended() -> Iterator[tuple[int, int]]:
    """Yield the pids and statuses of children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _die_with(parent: int) -> None:
    """Have this process be killed when its parent dies, however that dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise Permanent("the server was ended while it began")


def _write(descriptor: int, what: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, what)
