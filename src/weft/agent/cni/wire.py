"""What the plugin and the agent say to each other. Pure.

The plugin is to start and end in a millisecond, so it parses nothing: it sends its environment as fields that end with
a zero byte, then standard input as it came, and ends the stream; it gets one digit, its exit status, and what to print.
"""

import json
from typing import Any

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.request import Call

PROTOCOL = b"1"
FIELDS = ("command", "container_id", "netns", "ifname", "args")
MAX_STDIN_BYTES = 1 << 20
MAX_CALL_BYTES = MAX_STDIN_BYTES + (1 << 18)
"""Standard input, and an environment: Linux lets no variable be longer than 128 KiB (execve(2))."""


def call_of(received: bytes) -> Call:
    """Return the call that the plugin sent. Raises CniError for what no plugin of this version sends."""
    protocol, *fields = received.split(b"\0", len(FIELDS) + 1)
    if protocol != PROTOCOL:
        message = f"the plugin speaks another protocol than the agent: {protocol[:16]!r}"
        raise CniError(Code.UNDECODABLE, message, "`weft cni install` brings the plugin of this version")
    if len(fields) != len(FIELDS) + 1:
        raise CniError(Code.UNDECODABLE, "the plugin's call ended early", "was it killed?")
    *environment, stdin = (each.decode(errors="replace") for each in fields)
    return Call(**dict(zip(FIELDS, environment, strict=True)), stdin=stdin)


def success(printed: dict[str, Any] | None) -> bytes:
    """Return the answer to a call that went well; None: it prints nothing."""
    return b"0" if printed is None else b"0" + json.dumps(printed).encode() + b"\n"


def failed(printed: dict[str, Any]) -> bytes:
    """Return the answer to a call that did not."""
    return b"1" + json.dumps(printed).encode() + b"\n"
