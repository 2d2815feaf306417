"""What counts as an established BGP session."""

import json
from pathlib import Path

from weft.lab.convergence import established, expected_sessions
from weft.lab.file import read

EXAMPLE = Path(__file__).parents[2] / "examples" / "small-dc.toml"


def summary(**families: dict[str, str]) -> str:
    """Return what FRR prints for peers and their states, by address family."""
    return json.dumps(
        {
            name: {"routerId": "10.255.0.1", "peers": {peer: {"state": state} for peer, state in peers.items()}}
            for name, peers in families.items()
        }
    )


def test_a_session_counts_when_every_family_of_it_is_established() -> None:
    text = summary(
        ipv4Unicast={"10.254.0.0": "Established", "10.254.0.2": "Established", "10.254.0.4": "Active"},
        l2VpnEvpn={"10.254.0.0": "Established", "10.254.0.2": "Connect"},
    )
    assert established(text) == 1


def test_a_switch_without_bgp_has_no_session() -> None:
    assert established("{}") == 0
    assert established('{"warning": "Default BGP instance not found"}') == 0


def test_a_session_is_expected_for_each_cable_between_switches() -> None:
    expected = expected_sessions(read(EXAMPLE).inventory)
    assert expected == {"leaf1": 2, "leaf2": 2, "leaf3": 2, "spine1": 3, "spine2": 3}
