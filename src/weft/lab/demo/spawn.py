"""Spawning: a port for each instance, bound to its node in the same request, then the hypervisor plugs it in."""

import asyncio
from collections.abc import Mapping, Sequence

from weft.client import AsyncClient
from weft.client.timeline import timeline
from weft.lab import instances, state
from weft.lab.demo.cast import INSTANCES, Instance
from weft.lab.demo.checks import Checks
from weft.lab.demo.inside import Place
from weft.lab.demo.live import until_active
from weft.lab.demo.proofs import Stage
from weft.lab.demo.screen import Screen
from weft.lab.demo.tenants import Made, create_port
from weft.lab.vnic import find_vnic
from weft.model import steps
from weft.model.intent import Realizer
from weft.protocol.port import HistoryStep, PortStatus

ACTIVE_TIMEOUT_S = 30.0

ACTIVE = "ACTIVE"
REQUEST_STEPS = (steps.CREATED, steps.SAVED, steps.BOUND)
LEGS = {
    Realizer.FABRIC: (steps.SENT, steps.LEAF_FOUND, steps.CONFIGURED),
    Realizer.HOST: (steps.PLUGGED, steps.DETECTED, steps.FLOWS),
}
"""The steps that each realizer makes; a bare-metal server has no host leg."""

HEADINGS = {
    steps.CREATED: "CREATED",
    steps.SAVED: "SAVED",
    steps.BOUND: "BOUND",
    steps.SENT: "SENT",
    steps.LEAF_FOUND: "LEAF",
    steps.CONFIGURED: "OVERLAY UP",
    steps.PLUGGED: "PLUGGED",
    steps.DETECTED: "DETECTED",
    steps.FLOWS: "UNDERLAY UP",
    ACTIVE: "ACTIVE",
}


async def spawn_all(client: AsyncClient, made: Made, checks: Checks, screen: Screen) -> Stage:
    """Spawn every instance, check that each made every step, and return where they are."""
    plugging = []
    for instance in INSTANCES:  # in turn, so that the first ports of networks with the same CIDR get the same address
        port_id = await create_port(client, made, instance)
        plugging.append(asyncio.create_task(_plug(client, instance, port_id)))
    plugged = await asyncio.gather(*plugging)
    ports = await until_active(client, made.ports.values(), ACTIVE_TIMEOUT_S)
    passed = {port.name: first_times(await client.history(port.id)) for port in ports.values()}
    screen.say("Milliseconds from each port's request:")
    screen.table(["PORT", *HEADINGS.values()], [_row(name, times) for name, times in passed.items()], numbers_from=1)
    _check_spawn(list(ports.values()), passed, checks)
    nics = state.load().nics
    return Stage(
        places={
            instance.name: Place(instance.name, each.namespace, _nic(each, nics), instance.tenant)
            for instance, each in zip(INSTANCES, plugged, strict=True)
        },
        addresses={port.name: port.fixed_ips[0].address for port in ports.values()},
        gateways={each.name: each.gateways[0] for each in plugged},
    )


async def unplug_all() -> None:
    """Stop every instance: the hypervisors' part of deleting."""
    await asyncio.gather(*(instances.unplug(name) for name in state.load().instances))


async def _plug(client: AsyncClient, instance: Instance, port_id: str) -> state.Instance:
    vnic, _ = await find_vnic(client, port_id)
    return await instances.plug(instance.node, vnic)


def _nic(instance: state.Instance, nics: Mapping[str, Sequence[str]]) -> str:
    """A bare-metal server's NIC is its own; every other instance has an eth0."""
    return instances.GUEST_INTERFACE if instance.device is not None else nics[instance.node][0]


def first_times(history: Sequence[HistoryStep]) -> dict[str, float]:
    """Return when each step of a spawn was first made, in seconds after the request; ``ACTIVE`` is one of them."""
    found: dict[str, float] = {}
    for timed in timeline(history):
        name = timed.step.after if timed.step.step == steps.STATE else timed.step.step
        found.setdefault(name, timed.after_s)
    return found


def steps_owed(port: PortStatus) -> tuple[str, ...]:
    """Return the steps that a port has made when it is ACTIVE: its request's, and those of each realizer it owes."""
    owed = {realizer for binding in port.bindings for realizer in binding.owed}
    return (*REQUEST_STEPS, *(step for realizer, leg in LEGS.items() if realizer in owed for step in leg), ACTIVE)


def _row(name: str, times: Mapping[str, float]) -> list[str]:
    return [name, *(f"{times[step] * 1000:.0f}" if step in times else "-" for step in HEADINGS)]


def _check_spawn(ports: Sequence[PortStatus], passed: Mapping[str, Mapping[str, float]], checks: Checks) -> None:
    missing = {port.name: [step for step in steps_owed(port) if step not in passed[port.name]] for port in ports}
    late = [f"{port.name} is {port.state} {port.reason}".rstrip() for port in ports if port.state != ACTIVE]
    late += [f"{name} never made {', '.join(steps)}" for name, steps in missing.items() if steps]
    good = len(ports) == len(INSTANCES) and not late
    slowest = max((times.get(ACTIVE, 0.0) for times in passed.values()), default=0.0)
    evidence = "; ".join(late) or f"{len(ports)} ports ACTIVE, every step in their histories, slowest {slowest:.2f} s"
    checks.record("eight instances are spawned, step by step", held=good, evidence=evidence)
