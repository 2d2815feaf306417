"""The demo's own instruments: they must not see what is not there."""

import subprocess
import sys
from ipaddress import ip_network

import pytest

from weft.lab.demo import ear
from weft.lab.demo.cast import CROSSINGS, INSTANCES, NETWORKS, TENANTS, TWINS
from weft.lab.demo.checks import Check, Checks
from weft.lab.demo.ping import PingResult, marker, parse_ping

ANSWERED = """\
PATTERN: 0x74656e616e743d726564212121212121
PING 10.1.1.3 (10.1.1.3) 56(84) bytes of data.
[1700000000.1] 64 bytes from 10.1.1.3: icmp_seq=1 ttl=62 time=2.19 ms
[1700000000.2] 64 bytes from 10.1.1.3: icmp_seq=4 ttl=62 time=0.04 ms
[1700000000.2] 64 bytes from 10.1.1.3: icmp_seq=4 ttl=62 time=0.05 ms (DUP!)

--- 10.1.1.3 ping statistics ---
6 packets transmitted, 2 received, +1 duplicates, 66% packet loss, time 104ms
"""

EXCEEDED = """\
PING 10.1.2.2 (10.1.2.2) 56(84) bytes of data.
From 10.1.1.1 icmp_seq=1 Time to live exceeded

--- 10.1.2.2 ping statistics ---
1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms
"""


def test_ping_is_read() -> None:
    found = parse_ping(ANSWERED)
    assert found == PingResult(sent=6, received=2, ttls=frozenset({62}), longest_gap=2)
    assert (found.lost, found.routers) == (4, 2)
    assert parse_ping(EXCEEDED).exceeded_at == {"10.1.1.1"}
    assert parse_ping(EXCEEDED).routers is None


def test_ping_that_says_nothing_is_no_result() -> None:
    with pytest.raises(ValueError, match="no summary"):
        parse_ping("ping: connect: Network is unreachable\n")


def test_markers_tell_tenants_apart() -> None:
    markers = {bytes.fromhex(marker(tenant)) for tenant in TENANTS}
    assert len(markers) == len(TENANTS)
    assert all(len(each) == 16 for each in markers)


def test_the_ear_hears_a_marker_and_only_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    red, blue = (bytes.fromhex(marker(tenant)) for tenant in TENANTS)
    frames = [(b"\x00" * 42 + red * 3, 0), (b"\x00" * 60, 0), (b"\x00" * 42 + blue, ear.socket.PACKET_OUTGOING)]

    class Wire:
        def setsockopt(self, *_: object) -> None: ...
        def bind(self, address: tuple[str, int]) -> None:
            assert address == ("eth0", 0)

        def recvfrom(self, _: int) -> tuple[bytes, tuple[object, ...]]:
            frame, kind = frames.pop(0)
            return frame, ("eth0", 0x0800, kind, 1, b"")

    wire = Wire()
    monkeypatch.setattr(ear.socket, "socket", lambda *_: wire)
    monkeypatch.setattr(ear.select, "select", lambda *_: ([wire, sys.stdin] if frames else [sys.stdin], [], []))
    assert ear.listen("eth0", [red, blue]) == {"frames": 2, "heard": {red.hex(): 1, blue.hex(): 0}}
    assert capsys.readouterr().out == "listening\n"


def test_the_ear_needs_no_weft() -> None:
    program = f"import runpy; runpy.run_path({ear.__file__!r})"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cast_proves_what_the_demo_claims() -> None:
    assert len(INSTANCES) == 8
    by_tenant = [{ip_network(each.cidr) for each in NETWORKS if each.tenant == tenant} for tenant in TENANTS]
    assert by_tenant[0] == by_tenant[1]
    assert len(by_tenant[0]) == 2
    for one, other in TWINS:
        assert one.tenant != other.tenant
        assert one.network.cidr == other.network.cidr
    for each in CROSSINGS:
        assert each.sender.tenant == each.own.tenant != each.others.tenant
        assert (each.own, each.others) in TWINS or (each.others, each.own) in TWINS


def test_a_run_is_only_good_if_every_check_held() -> None:
    shown: list[Check] = []
    checks = Checks(shown.append)
    checks.record("a", held=True, evidence="seen")
    assert not checks.failed
    checks.record("b", held=False, evidence="0 of 5")
    assert [check.claim for check in checks.failed] == ["b"]
    assert list(checks.all) == shown
