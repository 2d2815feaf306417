"""Open watches are bounded for each caller, and one that ends makes room."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from api_server import ApiServer, api_server

from weft.api.limits import LimitSettings

LIMIT = LimitSettings().watches_per_caller


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as running:
        yield running


async def test_a_node_has_so_many_watches_and_no_more(server: ApiServer) -> None:
    token = await server.token_of("node1")
    path = "/v1/nodes/node1/watch"
    async with AsyncExitStack() as opened:
        for _ in range(LIMIT - 1):
            await (await opened.enter_async_context(server.stream(path, token=token))).piece()
        async with server.stream(path, token=token) as last:
            await last.piece()
            refused = await server.answer("GET", path, token=token)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["error"]["kind"] == "TooManyRequests"
        async with server.stream(path, token=token) as again:
            await again.piece()
