"""What the fabric has realized of a binding, judged from what is known of the switches. No I/O, no state."""

from collections.abc import Mapping

import msgspec

from weft.controller.worker import SwitchWorker
from weft.fabric.carriage import UNDERLAY, Carriage, Carried, VlanCarriage, first_reason, named
from weft.fabric.intent_index import FabricIntent
from weft.model.ids import SwitchName
from weft.model.intent import Binding, RealizationState

UP, PENDING, FAILED = RealizationState.UP, RealizationState.PENDING, RealizationState.FAILED


class Verdict(msgspec.Struct, frozen=True):
    """A state, and why it is not up. `found` are the leaves and what they must have, as people read it."""

    state: RealizationState
    reason: str = ""
    found: tuple[str, ...] = ()


def judge(intent: FabricIntent, workers: Mapping[SwitchName, SwitchWorker], binding: Binding) -> Verdict:
    """Return how far the fabric is with a binding: up if every leaf has what it needs, failed if one refused it."""
    port = intent.port(binding.port_id)
    obstacle = intent.obstacle(binding)
    if port is None or obstacle is not None:
        return Verdict(FAILED, obstacle or "the port is gone")
    found: list[str] = []
    failed: list[str] = []
    waiting: list[str] = []
    for leaf in dict.fromkeys(link.leaf for link in intent.topology.edge_links(binding.node)):
        carriage = intent.carriage(leaf, binding.node, port.network_id)
        if carriage is None:
            continue
        found.append(f"{leaf}: {carriage}")
        state, reason = _on(leaf, workers.get(leaf), carriage)
        if state is FAILED:
            failed.append(reason)
        elif state is PENDING:
            waiting.append(reason)
    if failed:
        return Verdict(FAILED, "; ".join(failed), tuple(found))
    if waiting:
        return Verdict(PENDING, "; ".join(filter(None, waiting)), tuple(found))
    return Verdict(UP, "", tuple(found))


def lost(carriage: Carriage | VlanCarriage, now: Carried, before: Carried | None) -> str | None:
    """Return what of a carriage a switch no longer has, given how it was left; None if it lost nothing of it.

    What intent asks for since then is not lost: it never was there. Of a switch that was not looked at before, a
    segment or attachment counts that is not there in any form; a router may have been attached since.
    """
    if isinstance(carriage, VlanCarriage):
        had = before.missing(carriage) if before is not None else []
        gone = [element for element in now.missing(carriage) if element not in had]
        return ", ".join(named(element) for element in gone) if gone else None
    if before is not None:
        gone = now.lost_since(before, carriage.elements())
    else:
        gone = now.absent(element for element in carriage.elements() if element[0] != "vrf")
    if now.config.underlay is None:
        gone = [UNDERLAY]
    return ", ".join(named(element) for element in gone) if gone else None


def _on(
    leaf: SwitchName, worker: SwitchWorker | None, carriage: Carriage | VlanCarriage
) -> tuple[RealizationState, str]:
    if worker is None:
        return PENDING, f"switch {leaf} is not kept by this controller"
    if worker.carried is None:
        return (FAILED if worker.hopeless else PENDING), f"switch {leaf}: {worker.trouble}" if worker.trouble else ""
    missing = worker.carried.missing(carriage)
    if not missing:
        return UP, ""
    refused = first_reason(missing, worker.refused)
    return (FAILED, f"switch {leaf} refused {refused}") if refused else (PENDING, "")
