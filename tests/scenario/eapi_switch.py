"""A stand-in for an EOS switch: eAPI over HTTPS, with running, startup and candidate configurations as EOS keeps them.

It knows the commands that weft types and the modes they belong to, and refuses all others as EOS does: the whole
request fails, with the index of the command. What it forwards, it does not know: it is no switch.
"""

import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from weft.fabric.dialects.eos import text
from weft.fabric.dialects.frr_text import Tree, parse

USER, PASSWORD = "admin", "admin's"
FACTORY = """\
service routing protocols model multi-agent
hostname leaf1
username admin privilege 15 role network-admin secret sha512 $6$x
vrf instance MGMT
ip routing
ipv6 unicast-routing
interface Ethernet1
interface Ethernet2
interface Ethernet11
interface Ethernet12
interface Ethernet48
   description uplink of somebody else
   switchport mode trunk
interface Management1
   vrf MGMT
   ip address 192.168.0.21/24
"""

INTERFACE = r"interface (Ethernet\d+(/\d+)*|Port-Channel\d+|Vlan([1-9]\d{0,3})|Loopback\d+|Management1)"
MODES = {
    "": [
        r"service routing protocols model multi-agent",
        r"hostname \S+",
        r"ip virtual-router mac-address [0-9a-f:]{17}",
        r"vlan ([1-9]\d{0,3})",
        r"vrf instance \S+",
        r"(ip routing|ipv6 unicast-routing)( vrf \S+)?",
        INTERFACE,
        r"interface Vxlan1",
        r"router bgp \d+",
    ],
    "vlan": [r"name \S+"],
    "interface": [
        r"description .+",
        r"mtu (\d+)",
        r"switchport",
        r"switchport mode (trunk|access)",
        r"switchport trunk (allowed|native) vlan [\d,-]+",
        r"spanning-tree portfast",
        r"vrf \S+",
        r"ip address \d+\.\d+\.\d+\.\d+/\d+",
        r"ip address virtual \d+\.\d+\.\d+\.\d+/\d+( secondary)?",
        r"ipv6 address virtual [0-9a-f:]+/\d+",
        r"shutdown",
    ],
    "vxlan": [
        r"vxlan source-interface Loopback0",
        r"vxlan udp-port 4789",
        r"vxlan vlan \d+ vni \d+",
        r"vxlan vrf \S+ vni \d+",
    ],
    "bgp": [
        r"router-id \S+",
        r"bgp default ipv4-unicast",
        r"timers bgp \d+ \d+",
        r"maximum-paths \d+",
        r"neighbor \S+ peer group( \S+)?",
        r"neighbor \S+ (send-community extended|maximum-routes \d+|remote-as \d+|description \S+|shutdown)",
        r"vlan \d+",
        r"vrf \S+",
        r"address-family (evpn|ipv4)",
    ],
    "bgp-vlan": [r"rd \S+", r"route-target both \d+:\d+", r"redistribute learned"],
    "bgp-vrf": [r"rd \S+", r"route-target (import|export) evpn \d+:\d+", r"router-id \S+", r"redistribute connected"],
    "bgp-family": [r"neighbor \S+ activate", r"bgp next-hop-unchanged", r"network \S+"],
}
BLOCKS = {
    "": [
        (r"vlan \d+", "vlan"),
        (r"vrf instance \S+", "vrf"),
        (r"interface Vxlan1", "vxlan"),
        (r"interface .+", "interface"),
        (r"router bgp \d+", "bgp"),
    ],
    "bgp": [(r"vlan \d+", "bgp-vlan"), (r"vrf \S+", "bgp-vrf"), (r"address-family \S+", "bgp-family")],
}
VALUED = (
    r"(description|mtu|name|rd|router-id|hostname|maximum-paths|timers bgp|ip virtual-router mac-address) ",
    r"(switchport mode|switchport trunk allowed vlan|switchport trunk native vlan) ",
    r"(ip address) \d",
    r"(neighbor \S+ (remote-as|description|maximum-routes)) ",
    r"(vxlan vlan \d+) ",
    r"(vxlan vrf \S+) ",
)


class RefusedError(Exception):
    """A command that EOS does not take, and what it says of it."""


class Candidate:
    """A configuration that is being typed."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._stack: list[tuple[str, Tree]] = [("", tree)]

    def type(self, line: str) -> None:
        """Take a line where it belongs: in the present mode, or in one around it."""
        if line == "exit":
            self._stack.pop()
            return
        if line.startswith("default interface "):
            self._stack = self._stack[:1]
            if line.removeprefix("default ") in self.tree:
                self.tree[line.removeprefix("default ")] = {}
            return
        bare = line.removeprefix("no ")
        while not self._knows(bare, negated=bare != line):
            if len(self._stack) == 1:
                raise RefusedError(f"Invalid input (at token 0: '{line.split(maxsplit=1)[0]}')")
            self._stack.pop()
        mode, block = self._stack[-1]
        if bare != line and bare not in {"switchport", "bgp default ipv4-unicast"}:
            self._remove(mode, block, bare)
        else:
            self._add(mode, block, line)

    def _knows(self, line: str, *, negated: bool) -> bool:
        mode = self._stack[-1][0]
        if negated and mode == "bgp" and re.fullmatch(r"neighbor \S+", line):
            return True
        return any(re.fullmatch(pattern, line) for pattern in MODES.get(mode, ()))

    def _add(self, mode: str, block: Tree, line: str) -> None:
        self._check(mode, block, line)
        if line == "switchport":
            block.pop("no switchport", None)
            return
        if line == "no switchport":
            for each in [each for each in block if each.startswith("switchport")]:
                del block[each]
        if mode == "interface" and line.startswith("vrf ") and line not in block:
            for each in [each for each in block if re.match(r"vrf |ip address |ipv6 address ", each)]:
                del block[each]  # "Interface's IP addresses removed due to VRF change"
        for pattern in VALUED:
            if (key := re.match(pattern, line)) is not None:
                for each in [each for each in block if (old := re.match(pattern, each)) and old[1] == key[1]]:
                    del block[each]
        inner = block.setdefault(line, {})
        for pattern, name in BLOCKS.get(mode, ()):
            if re.fullmatch(pattern, line):
                self._stack.append((name, inner))
                return

    def _check(self, mode: str, block: Tree, line: str) -> None:
        number = re.fullmatch(r"(vlan|mtu|interface Vlan) ?(\d+)", line)
        if number and mode == "" and int(number[2]) > 4094:
            raise RefusedError(f"Invalid input (at token 1: '{number[2]}')")
        if number and number[1] == "mtu" and not 68 <= int(number[2]) <= 9214:
            raise RefusedError(f"Invalid input (at token 1: '{number[2]}')")
        other = next((each for each in block if re.fullmatch(r"router bgp \d+", each)), line)
        if mode == "" and line.startswith("router bgp ") and other != line:
            raise RefusedError(f"BGP is already running with AS number {other.split()[2]}")
        group = re.fullmatch(r"neighbor (\S+) peer group (\S+)", line)
        if group and f"neighbor {group[2]} peer group" not in block:
            raise RefusedError(f"Peer group {group[2]} does not exist")
        vrf = re.fullmatch(r"vrf (\S+)", line)
        if mode == "interface" and vrf and f"vrf instance {vrf[1]}" not in self.tree:
            raise RefusedError(f"VRF {vrf[1]} does not exist")

    def _remove(self, mode: str, block: Tree, line: str) -> None:
        if mode == "bgp" and re.fullmatch(r"neighbor \S+", line):
            for tree in (block, *block.values()):
                for each in [each for each in tree if each.startswith(f"{line} ")]:
                    del tree[each]
            return
        block.pop(line, None)
        if mode == "" and line.startswith("vrf instance "):
            name = line.split()[2]
            for each in (f"ip routing vrf {name}", f"ipv6 unicast-routing vrf {name}"):
                block.pop(each, None)
            for inner in block.values():
                if f"vrf {name}" in inner and "router-id" not in " ".join(inner):
                    for each in [each for each in inner if re.match(r"vrf |ip address |ipv6 address ", each)]:
                        del inner[each]


class EosSwitch:
    """The switch: its configurations, its sessions, and how it misbehaves if told to."""

    def __init__(self, configuration: str = FACTORY) -> None:
        self.running = parse(configuration)
        self.startup = deepcopy(self.running)
        self.sessions: dict[str, tuple[str, Candidate]] = {}
        self.requests: list[list[str]] = []
        self.refuses: re.Pattern[str] | None = None
        """Lines that it does not take, though they are right."""
        self.answers: Callable[[bytes], bytes] = lambda answer: answer
        self.delay_s = 0.0
        self._before: Tree | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def run(self, commands: list[str], form: str) -> list[dict[str, Any]]:
        """Run commands one after the other; raise RefusedError with the number of the one that is not taken."""
        with self._lock:
            self.requests.append(commands)
            found: list[dict[str, Any]] = []
            session: str | None = None
            for number, command in enumerate(commands, start=1):
                try:
                    session, answer = self._one(command, session, form)
                except RefusedError as error:
                    raise RefusedError(number, command, str(error), found) from None
                found.append(answer)
            return found

    def _one(self, command: str, session: str | None, form: str) -> tuple[str | None, dict[str, Any]]:
        if command == "enable":
            return session, {}
        if named := re.fullmatch(r"configure session (\S+)( abort| commit(?: timer (\d\d):(\d\d):(\d\d))?)?", command):
            return self._session(named)
        if session is not None:
            if command == "commit":
                self._commit(session)
                return None, {}
            if self.refuses is not None and self.refuses.search(command):
                raise RefusedError("Unavailable command (not supported on this hardware platform)")
            self.sessions[session][1].type(command)
            return session, {}
        return session, self._shown(command, form)

    def _session(self, named: re.Match[str]) -> tuple[str | None, dict[str, Any]]:
        name, verb = named[1], (named[2] or "").strip()
        if verb == "abort":
            self.sessions[name] = ("aborted", Candidate({}))
            return None, {}
        if verb.startswith("commit timer"):
            seconds = int(named[3]) * 3600 + int(named[4]) * 60 + int(named[5])
            self._commit(name, seconds)
            return None, {}
        if verb == "commit":
            state, candidate = self.sessions[name]
            if state == "pendingCommitTimer":
                self._stop_timer()
                self.sessions[name] = ("completed", candidate)
            else:
                self._commit(name)
            return None, {}
        if self.sessions.get(name, ("",))[0] != "pending":
            self.sessions[name] = ("pending", Candidate(deepcopy(self.running)))
        return name, {}

    def _commit(self, name: str, seconds: float = 0) -> None:
        if self._timer is not None:
            raise RefusedError("Cannot commit: a session is pending commit timer")
        _, candidate = self.sessions[name]
        if seconds:
            self._before = deepcopy(self.running)
            self._timer = threading.Timer(seconds, self.expire)
            self._timer.daemon = True
            self._timer.start()
        self.running = candidate.tree
        self.sessions[name] = ("pendingCommitTimer" if seconds else "completed", candidate)

    def expire(self) -> None:
        """Let the commit timer run out: the switch goes back."""
        if self._before is not None:
            self.running, self._before = self._before, None
            self.sessions = {
                name: ("aborted" if state == "pendingCommitTimer" else state, candidate)
                for name, (state, candidate) in self.sessions.items()
            }
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._before = None

    def _shown(self, command: str, form: str) -> dict[str, Any]:
        if command == "show running-config" and form == "text":
            return {
                "output": f"! Command: show running-config\n! device: leaf1 (DCS-7050)\n!\n{text(self.running)}end\n"
            }
        if command == "show configuration sessions detail":
            return {
                "maxSavedSessions": 1,
                "sessions": {name: {"state": state} for name, (state, _) in self.sessions.items()},
            }
        if command in {"show bgp evpn summary", "show ip bgp summary"}:
            return {"vrfs": {"default": {"peers": self._peers()}}}
        if command == "copy running-config startup-config":
            self.startup = deepcopy(self.running)
            return {}
        raise RefusedError(f"Invalid input (at token 0: '{command.split(maxsplit=1)[0]}')")

    def _peers(self) -> dict[str, dict[str, str]]:
        bgp = next((block for line, block in self.running.items() if line.startswith("router bgp ")), {})
        peers = {found[1] for line in bgp if (found := re.fullmatch(r"neighbor (\S+) remote-as \d+", line))}
        return {
            peer: {
                "peerState": "Established",
                "description": next(
                    (line.split()[3] for line in bgp if line.startswith(f"neighbor {peer} description ")), ""
                ),
            }
            for peer in sorted(peers)
        }


class EapiServer:
    """A switch's eAPI on loopback, with a certificate."""

    def __init__(self, switch: EosSwitch, certificate: Path, key: Path) -> None:
        self.switch = switch
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(switch))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> "EapiServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.switch._stop_timer()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(switch: EosSwitch) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-length"])))
            if self.headers.get("Authorization") != expected:
                self._answer(401, b"Unable to authenticate user: Bad username/password combination")
                return
            time.sleep(switch.delay_s)
            params = asked["params"]
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
            try:
                answer["result"] = switch.run(params["cmds"], params["format"] or "json")
            except RefusedError as error:
                number, command, said, found = error.args
                answer["error"] = {
                    "code": 1002,
                    "message": f"CLI command {number} of {len(params['cmds'])} '{command}' failed: invalid command",
                    "data": [*found, {"errors": [said]}],
                }
            self._answer(200, switch.answers(json.dumps(answer).encode()))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class has it
            """Say nothing."""

    return Handler
