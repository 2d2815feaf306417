"""The agent's unix socket for the CNI plugin: a call in, an answer out, each a line of JSON."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import structlog

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.result import OLDEST, failure
from weft.agent.cni.service import CniService, environment_of
from weft.model.errors import Invalid

MAX_CALL_BYTES = 1 << 20
READ_TIMEOUT_S = 10.0

log = structlog.get_logger()


async def serve(path: str, service: CniService) -> None:
    """Answer calls on a socket that only root may open, until cancelled. Raise Invalid if it cannot be made."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(service, reader, writer)

    try:
        await asyncio.to_thread(_make_way, Path(path))
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, path, limit=MAX_CALL_BYTES)
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
        said = await _said(service, reader)
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()
        writer.close()


async def _said(service: CniService, reader: asyncio.StreamReader) -> dict[str, Any]:
    version = OLDEST
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            line = await reader.readline()
        call = environment_of(json.loads(line))
        with contextlib.suppress(ValueError, AttributeError):
            version = json.loads(call.stdin).get("cniVersion", OLDEST)
        return {"result": await service.answer(call)}
    except CniError as error:
        return {"error": failure(version, error)}
    except (ValueError, TimeoutError) as error:
        return {"error": failure(version, CniError(Code.UNDECODABLE, "the call could not be read", str(error)))}
    except Exception as error:
        log.exception("cni_call_failed")
        return {"error": failure(version, CniError(Code.IO_FAILURE, "the agent failed", repr(error)))}
