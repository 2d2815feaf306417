"""An API with two projects, and short words for what they and the administrator ask of it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from api_server import ADMIN, ApiServer, api_server

from weft.api.auth.token_file import TokenFile

TOKENS = """
red-token roles=member project=red
blue-token roles=member project=blue
"""

RED, BLUE = "red-token", "blue-token"

__all__ = ["ADMIN", "BLUE", "RED", "Projects", "projects"]


class Projects:
    """Calls of Neutron's API by any of the callers."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def create(self, who: str, resource: str, path: str = "", **attributes: object) -> dict[str, Any]:
        """Create an object and return it."""
        path = path or f"{resource}s"
        made = await self.server.call("POST", f"/v2.0/{path}", {resource: attributes}, token=who, status=201)
        found: dict[str, Any] = made[resource]
        return found

    async def update(self, who: str, resource: str, path: str, **attributes: object) -> dict[str, Any]:
        """Change an object and return it."""
        made = await self.server.call("PUT", f"/v2.0/{path}", {resource: attributes}, token=who, status=200)
        found: dict[str, Any] = made[resource]
        return found

    async def get(self, who: str, path: str) -> Any:
        """Return what stands in an answer under its one name."""
        found = await self.server.call("GET", f"/v2.0/{path}", token=who, status=200)
        (value,) = found.values()
        return value

    async def delete(self, who: str, path: str) -> None:
        """Delete an object."""
        await self.server.call("DELETE", f"/v2.0/{path}", token=who, status=204)

    async def refused(self, who: str, method: str, path: str, body: object = None) -> tuple[int, str, str]:
        """Return status, type and message of an error."""
        answer = await self.server.answer(method, f"/v2.0/{path}", json=body, token=who)
        assert answer.status_code >= 400, answer.text
        error = answer.json()["NeutronError"]
        return answer.status_code, error["type"], error["message"]

    async def network(self, who: str, cidr: str = "10.61.0.0/24", **attributes: object) -> tuple[str, str]:
        """Create a network with one subnet and return their ids."""
        network = (await self.create(who, "network", **attributes))["id"]
        return network, (await self.create(who, "subnet", network_id=network, cidr=cidr, ip_version=4))["id"]


@contextlib.asynccontextmanager
async def projects(folder: Path) -> AsyncIterator[Projects]:
    """Run the API on a new store."""
    tokens = folder / "tokens"
    tokens.write_text(TOKENS)
    async with api_server(folder, sources=[TokenFile(tokens, lambda: 0.0)]) as server:
        yield Projects(server)
