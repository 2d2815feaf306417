"""What the service's figures are held against: the same HTTP server, answering bytes that it has ready.

`python -m bench.canned --listen HOST:PORT` serves until it is told to stop. It reads each request's body, as the API
must, and answers what a port looks like; nothing else is done.
"""

import asyncio
import sys
from types import SimpleNamespace
from typing import cast

import uvloop
from starlette.types import Receive, Scope, Send

from weft.api.app import Api
from weft.api.listen import open_listeners
from weft.api.server import HttpServer

BODY = b'{"port":{' + b",".join(b'"attribute-%02d":"%s"' % (at, b"x" * 20) for at in range(24)) + b"}}"
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def main(address: str) -> None:
    """Serve until SIGTERM."""
    listeners = open_listeners((address,), credentials=False)
    server = HttpServer(cast(Api, SimpleNamespace(app=app, stop_streams=lambda: None)))
    try:
        await server.serve(listeners.shares[0])
    finally:
        listeners.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[2]))
