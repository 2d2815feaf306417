"""Why a port that was asked for by labels came into the network that it is in.

``POST /v2.0/ports`` and ``POST /v1/ports`` show it as ``network_choice`` of a port that named ``network_labels`` in
place of a network.
"""

from collections.abc import Mapping

import msgspec


class ConsideredNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network that has the labels, and what spoke for or against it.

    `free` counts the addresses that a port could get there: of the scarcer family, if the network has two.
    """

    network_id: str
    name: str
    site: str
    free: int
    verdict: str
    """``chosen``, or why not."""


class NetworkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of a network by labels; `considered` is in the order of preference, and may have been cut."""

    labels: Mapping[str, str]
    network_id: str
    considered: tuple[ConsideredNetwork, ...]
