"""Runs iproute2's programs."""

import asyncio

from weft.model.errors import Transient

COMMAND_TIMEOUT_S = 10.0
RETRY_AFTER_S = 0.05


async def execute(*command: str, stdin: str = "") -> str:
    """Run a program and return what it prints; raise Transient with its complaint if it fails."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise Transient(f"{command[0]} cannot be run: {error}", retry_after_s=RETRY_AFTER_S) from error
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            out, complaint = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        text = f"{' '.join(command)} did not end within {COMMAND_TIMEOUT_S} s"
        raise Transient(text, retry_after_s=RETRY_AFTER_S) from None
    if process.returncode != 0:
        text = f"{' '.join(command)}: {complaint.decode().strip()} in: {stdin.strip()}"
        raise Transient(text, retry_after_s=RETRY_AFTER_S)
    return out.decode()
