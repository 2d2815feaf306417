"""The agent's unix socket for the CNI plugin: one call a connection, as weft.agent.cni.wire has it."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import structlog

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.result import OLDEST, failure
from weft.agent.cni.service import CniService
from weft.agent.cni.wire import MAX_CALL_BYTES, call_of, failed, success
from weft.model.errors import Invalid

READ_TIMEOUT_S = 10.0
MAX_WAITING_CALLS = 1024
"""Of which the agent has not heard yet; the plugin of one more is refused by the kernel, and fails with code 11."""

log = structlog.get_logger()


async def serve(path: str, service: CniService) -> None:
    """Answer calls on a socket that only root may open, until cancelled. Raise Invalid if it cannot be made."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(service, reader, writer)

    try:
        _make_way(Path(path))  # microseconds; a thread may wait for those that look names up
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, path, limit=MAX_CALL_BYTES, backlog=MAX_WAITING_CALLS)
        finally:
            os.umask(mask)
    except OSError as error:
        raise Invalid(f"cni_socket {path} cannot be made: {error.strerror or error}") from None
    log.info("cni_listening", socket=path)
    async with server:
        await server.serve_forever()


def _make_way(socket: Path) -> None:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)


async def _answer(service: CniService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write(await _said(service, reader))
        await writer.drain()
        writer.close()


async def _said(service: CniService, reader: asyncio.StreamReader) -> bytes:
    version = OLDEST
    try:
        call = call_of(await _received(reader))
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            version = json.loads(call.stdin).get("cniVersion", OLDEST)
        return success(await service.answer(call))
    except CniError as error:
        return failed(failure(version, error))
    except Exception as error:
        log.exception("cni_call_failed")
        return failed(failure(version, CniError(Code.IO_FAILURE, "the agent failed", repr(error))))


async def _received(reader: asyncio.StreamReader) -> bytes:
    """Return all that the plugin sends."""
    received = b""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            while piece := await reader.read(MAX_CALL_BYTES):
                received += piece
                if len(received) > MAX_CALL_BYTES:
                    raise CniError(Code.UNDECODABLE, f"the call is longer than {MAX_CALL_BYTES} bytes")
    except TimeoutError:
        raise CniError(Code.UNDECODABLE, f"the call did not end within {READ_TIMEOUT_S:g} s") from None
    return received
