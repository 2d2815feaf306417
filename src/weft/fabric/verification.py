"""What a changed switch must show before it counts as right: judged from what was read, not from what was sent."""

from collections.abc import Mapping

from weft.fabric.reachability import Configs, neighbours
from weft.model.ids import SwitchName

ESTABLISHED = "Established"
"""RFC 4271, section 8.2.2."""


def sessions_missing(switch: SwitchName, read: Configs, sessions: Mapping[tuple[str, str], str]) -> list[str]:
    """Return the sessions that a switch should have and has not.

    `read` is what was last read from every switch: a peer that is configured otherwise has no session to offer yet.
    `sessions` are the switch's, by the peer's address and family.
    """
    underlay = read[switch].underlay
    agreed = neighbours(read)[switch]
    missing = []
    for link in underlay.links if underlay is not None else ():
        if SwitchName(link.peer) not in agreed:
            continue
        states = {family: state for (address, family), state in sessions.items() if address == str(link.peer_address)}
        if not states:
            missing.append(f"no session with {link.peer} ({link.peer_address})")
        missing += [
            f"session with {link.peer} ({link.peer_address}, {family}) is {state}"
            for family, state in sorted(states.items())
            if state != ESTABLISHED
        ]
    return missing
