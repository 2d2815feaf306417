"""Running the machine's own tools (ip, ovs-vsctl, ...) and taking their failures seriously."""

import asyncio
from collections.abc import Iterable, Mapping

from weft.model.errors import Permanent

TIMEOUT_S = 30.0


async def run(
    *argv: str, stdin: str | None = None, environment: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> str:
    """Run a command and return its output; raise Permanent with what it said if it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment) if environment is not None else None,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate(None if stdin is None else stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Permanent(f"`{' '.join(argv)}` took longer than {timeout_s:g} s") from None
    if process.returncode:
        said = errors.decode(errors="replace").strip() or output.decode(errors="replace").strip()
        raise Permanent(f"`{' '.join(argv)}` failed: {said}")
    return output.decode(errors="replace")


async def ip_batch(lines: Iterable[str], *, namespace: str | None = None) -> None:
    """Run ``ip`` commands in one process, in a namespace or in the machine's own; stop at the first failure."""
    text = "".join(line + "\n" for line in lines)
    if text:
        where = () if namespace is None else ("-n", namespace)
        await run("ip", *where, "-batch", "-", stdin=text)
