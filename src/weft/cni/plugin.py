#!/usr/bin/python3 -IS
"""weft-cni: hands a call of a container runtime to weft's agent on this node (CNI specification 1.1.0).

A file that stands alone, for nodes where plugin.c was not compiled; it says and does the same. It imports what is built
into the interpreter only, which starts in half the time that json and socket take.
"""

import _socket
import posix
import select

VERSIONS = ("0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SOCKET = "/run/weft/cni.sock"
TIMEOUT_S = 60
STDIN_TIMEOUT_S = 10
MAX_STDIN_BYTES = 1 << 20
MAX_ANSWER_BYTES = 1 << 20
UNDECODABLE, TRY_AGAIN_LATER, NOT_AVAILABLE = 6, 11, 50
FIELDS = (b"CNI_COMMAND", b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_IFNAME", b"CNI_ARGS")


class Failure(Exception):
    """A call that the plugin itself has to answer: code, message, details."""


def quoted(text: str) -> str:
    """Write a text as JSON has it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each >= " " else f"\\u{ord(each):04x}" for each in escaped) + '"'


def closing_quote(text: str, at: int) -> int:
    """Return where the next quote is that has an even number of backslashes before it; -1 if there is none."""
    while (at := text.find('"', at)) >= 0:
        before = at
        while text[before - 1] == "\\":
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1
    return -1


def scan(text: str) -> dict[str, str] | None:
    """Return the texts of the outermost object by their keys; None if there is no object, as far as brackets tell.

    What stands deeper, such as a pod's annotations, is written by others.
    """
    texts: dict[str, str] = {}
    key, depth, is_value, at, end = "", 0, False, 0, len(text)
    while at < end:
        each = text[at]
        if each == '"' and depth:
            begin = at + 1
            at = closing_quote(text, begin)
            if at < 0:
                return None
            if depth == 1 and is_value:
                texts[key] = text[begin:at].replace("\\/", "/")
            elif depth == 1:
                key = text[begin:at]
        elif each in "{[":
            if depth == 0 and (each == "[" or texts or key):
                return None
            depth += 1
        elif each in "}]":
            depth -= 1
            if depth == 0:
                return None if text[at + 1 :].strip() else texts
        elif each not in " \t\r\n" and depth == 0:
            return None
        elif depth == 1 and each in ":,":
            is_value = each == ":"
        at += 1
    return None


def scanned(stdin: bytes) -> dict[str, str]:
    """Return the texts of a configuration."""
    texts = scan(stdin.decode("utf-8", "replace"))
    if texts is None:
        raise Failure(UNDECODABLE, "the network configuration is no JSON object", "")
    return texts


def read_input() -> bytes:
    """Return standard input."""
    ready = select.poll()
    ready.register(0, select.POLLIN)
    received = b""
    while len(received) <= MAX_STDIN_BYTES:
        if not ready.poll(STDIN_TIMEOUT_S * 1000):
            raise Failure(UNDECODABLE, f"the network configuration did not end within {STDIN_TIMEOUT_S} s", "")
        piece = posix.read(0, MAX_STDIN_BYTES + 1 - len(received))
        if not piece:
            return received
        received += piece
    raise Failure(UNDECODABLE, f"the network configuration is longer than {MAX_STDIN_BYTES} bytes", "")


def ask(path: str, call: bytes, code: int) -> bytes:
    """Send a call to the agent and return its answer; without one, the call fails with `code`."""
    received = b""
    try:
        wire = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        wire.settimeout(TIMEOUT_S)
        wire.connect(path)
        wire.sendall(call)
        wire.shutdown(_socket.SHUT_WR)
        while len(received) < MAX_ANSWER_BYTES and (piece := wire.recv(1 << 16)):
            received += piece
    except OSError as error:
        raise Failure(code, f"weft's agent does not answer at {path}", str(error)) from None
    if received[:1] not in {b"0", b"1"}:
        raise Failure(code, f"weft's agent does not answer at {path}", "it ended the connection without an answer")
    return received


def main() -> tuple[int, bytes]:
    """Carry out one call; return the exit status and what is printed."""
    environment = posix.environ
    command = environment.get(b"CNI_COMMAND", b"").decode("utf-8", "replace")
    if command == "VERSION":
        known = ", ".join(map(quoted, VERSIONS))
        return 0, f'{{"cniVersion": "{VERSIONS[-1]}", "supportedVersions": [{known}]}}\n'.encode()
    texts: dict[str, str] = {}
    try:
        stdin = read_input()
        texts = scanned(stdin)
        call = b"\0".join([b"1", *(environment.get(each, b"") for each in FIELDS), stdin])
        answer = ask(texts.get("socket", SOCKET), call, NOT_AVAILABLE if command == "STATUS" else TRY_AGAIN_LATER)
    except Failure as failure:
        code, message, details = failure.args
        version = quoted(texts.get("cniVersion", VERSIONS[0]))
        words = f'"cniVersion": {version}, "code": {code}, "msg": {quoted(message)}, "details": {quoted(details)}'
        return 1, ("{" + words + "}\n").encode()
    return answer[0] - ord("0"), answer[1:]


if __name__ == "__main__":
    status, printed = main()
    while printed:
        printed = printed[posix.write(1, printed) :]
    posix._exit(status)
