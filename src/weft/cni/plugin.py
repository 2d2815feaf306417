#!/usr/bin/python3 -IS
"""weft-cni: hands a call of a container runtime to weft's agent on this node (CNI specification 1.1.0).

A file that stands alone: `weft cni install` copies it to where the runtime looks for plugins.
"""

import json
import os
import socket
import sys
from typing import Any, NoReturn

VERSIONS = ["0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
SOCKET = "/run/weft/cni.sock"
TIMEOUT_S = 60
MAX_STDIN_BYTES = 1 << 20
TRY_AGAIN_LATER, IO_FAILURE, UNDECODABLE, NOT_AVAILABLE = 11, 5, 6, 50


def fail(version: str, code: int, message: str, details: str = "") -> NoReturn:
    """Print an error as the specification has it, and end with status 1."""
    print(json.dumps({"cniVersion": version, "code": code, "msg": message, "details": details}))
    sys.exit(1)


def main() -> None:
    """Carry out one call."""
    environment = os.environ
    command = environment.get("CNI_COMMAND", "")
    if command == "VERSION":
        print(json.dumps({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS}))
        return
    text = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    version = VERSIONS[0]
    if len(text) > MAX_STDIN_BYTES:
        fail(version, UNDECODABLE, f"the network configuration is longer than {MAX_STDIN_BYTES} bytes")
    try:
        configuration = json.loads(text)
        version = configuration.get("cniVersion", version)
        path = configuration.get("socket", SOCKET)
    except (ValueError, AttributeError) as error:
        fail(version, UNDECODABLE, "the network configuration is no JSON object", str(error))
    call = {
        "command": command,
        "container_id": environment.get("CNI_CONTAINERID", ""),
        "netns": environment.get("CNI_NETNS", ""),
        "ifname": environment.get("CNI_IFNAME", ""),
        "args": environment.get("CNI_ARGS", ""),
        "stdin": text.decode(errors="replace"),
    }
    try:
        answer = ask(path, call)
    except (OSError, ValueError) as error:
        code = NOT_AVAILABLE if command == "STATUS" else TRY_AGAIN_LATER
        fail(version, code, f"weft's agent does not answer at {path}", str(error))
    if "error" in answer:
        print(json.dumps(answer["error"]))
        sys.exit(1)
    if answer.get("result") is not None:
        print(json.dumps(answer["result"]))


def ask(path: str, call: dict[str, str]) -> dict[str, Any]:
    """Send a call to the agent and return its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(TIMEOUT_S)
        wire.connect(path)
        wire.sendall(json.dumps(call).encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            piece = wire.recv(1 << 16)
            if not piece:
                break
            received += piece
    answer = json.loads(received)
    if not isinstance(answer, dict):
        raise ValueError("the agent answered what is no object")  # noqa: TRY004 - as for what is no JSON
    return answer


if __name__ == "__main__":
    main()
