"""A server process on loopback, for clients that only know HTTP and where it is."""

import contextlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"
DEADLINE_S = 30.0
"""Only reached by a failing test."""

ADMIN, MEMBER = "the-administrators-token-0123456789", "the-members-token-0123456789abcdef"
TOKENS = f"{ADMIN}\n{MEMBER} roles=member project=red\n"

PROGRAM = """
import sys
from pathlib import Path
from weft.api.server import run
from weft.api.settings import ServerSettings
folder, tokens = Path(sys.argv[1]), sys.argv[2:]
token_file = Path(tokens[0]) if tokens else None
run(ServerSettings(listen=("127.0.0.1:0",), db=f"sqlite:///{folder}/weft.db", token_file=token_file))
"""


@contextlib.contextmanager
def openstack_server(folder: Path, *, tokens: bool = False) -> Iterator[str]:
    """Run a server that holds the example inventory, and yield its URL; with `tokens` it asks for one of TOKENS."""
    arguments = [str(folder)]
    if tokens:
        token_file = folder / "tokens"
        token_file.write_text(TOKENS)
        token_file.chmod(0o600)
        arguments.append(str(token_file))
    with (folder / "server.log").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        url = next(word for word in greeting.split() if word.startswith("http://127.0.0.1:"))
        wire = tomllib.loads(EXAMPLE.read_text())
        del wire["lab"]
        headers = {"X-Auth-Token": ADMIN} if tokens else {}
        httpx.put(f"{url}/v1/inventory", json=wire, headers=headers, timeout=DEADLINE_S).raise_for_status()
        yield url
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()
