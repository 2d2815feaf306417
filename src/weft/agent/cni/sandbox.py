"""A look into a container's namespace, for CHECK. ``nsenter`` reaches it by its path, wherever a runtime keeps it."""

import json

from weft.agent.processes import execute


async def seen(netns: str, ifname: str) -> tuple[str, frozenset[str]]:
    """Return MAC and addresses of a container's interface. Raise Transient if there is none."""
    rows = json.loads(await execute("nsenter", f"--net={netns}", "ip", "-j", "address", "show", "dev", ifname))
    addresses = (each for row in rows for each in row.get("addr_info", ()) if each.get("scope") == "global")
    return rows[0]["address"], frozenset(f"{each['local']}/{each['prefixlen']}" for each in addresses)
