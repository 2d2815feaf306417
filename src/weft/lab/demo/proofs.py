"""What is proven from inside the instances: who reaches whom, over how many routers, and who must not be heard."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.lab.demo.cast import (
    BARE_METAL,
    BLUE_WEB_1,
    CROSSINGS,
    RED_DB_1,
    RED_DB_2,
    RED_WEB_1,
    RED_WEB_2,
    TENANTS,
    TWINS,
    Crossing,
    Instance,
)
from weft.lab.demo.checks import Checks
from weft.lab.demo.inside import Place, listening, ping
from weft.lab.demo.ping import PingResult

PINGS = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """Where each instance is, and its address, by name."""

    places: Mapping[str, Place]
    addresses: Mapping[str, str]
    gateways: Mapping[str, str]

    def place(self, instance: Instance) -> Place:
        """Return where an instance is."""
        return self.places[instance.name]

    def address(self, instance: Instance) -> str:
        """Return an instance's address."""
        return self.addresses[instance.name]


async def prove_reachability(stage: Stage, checks: Checks) -> None:
    """Same network on another leaf, other network at the local leaf and across leaves, bare metal both ways."""
    await _reaches(stage, checks, "same network, other leaf", RED_WEB_1, RED_WEB_2, routers=0)
    await _reaches(stage, checks, "other network, routed at the local leaf", RED_WEB_1, RED_DB_1, routers=1)
    await _gateway_is_the_first_hop(stage, checks, RED_WEB_1, RED_DB_1)
    await _reaches(stage, checks, "other network, routed leaf to leaf", RED_WEB_1, RED_DB_2, routers=2)
    await _reaches(stage, checks, "bare metal from a VM, same network", RED_WEB_1, BARE_METAL, routers=0)
    await _reaches(stage, checks, "bare metal from a VM, other network", RED_DB_1, BARE_METAL, routers=2)
    await _reaches(stage, checks, "a VM from bare metal, routed at its leaf", BARE_METAL, RED_DB_2, routers=1)


async def _reaches(
    stage: Stage, checks: Checks, claim: str, source: Instance, target: Instance, *, routers: int
) -> None:
    address = stage.address(target)
    result = await ping(stage.place(source), address, count=PINGS)
    held = result.lost == 0 and result.routers == routers
    evidence = f"{source.name} ({source.node}) -> {target.name} ({target.node}) {address}: {result}, {_path(result)}"
    checks.record(claim, held=held, evidence=evidence)


def _path(result: PingResult) -> str:
    match result.routers:
        case None:
            return "by no path or several"
        case 0:
            return "no router between"
        case 1:
            return "1 router between"
        case several:
            return f"{several} routers between"


async def _gateway_is_the_first_hop(stage: Stage, checks: Checks, source: Instance, target: Instance) -> None:
    """A packet that may cross no router dies at the gateway; one that may cross a single one arrives."""
    address, gateway = stage.address(target), stage.gateways[source.name]
    first = await ping(stage.place(source), address, count=1, ttl=1)
    second = await ping(stage.place(source), address, count=1, ttl=2)
    held = first.exceeded_at == {gateway} and second.lost == 0
    died = ", ".join(sorted(first.exceeded_at)) or "nobody"
    evidence = f"TTL 1: refused by {died} (the gateway is {gateway}); TTL 2: {second}"
    checks.record("one hop: the anycast gateway of the local leaf", held=held, evidence=evidence)


async def prove_isolation(stage: Stage, checks: Checks) -> None:
    """Tenants have the same addresses; each one's packets reach its own instance, and the other's hears none."""
    pairs = [f"{one.name} = {other.name} = {stage.address(one)}" for one, other in TWINS]
    same = all(stage.address(one) == stage.address(other) for one, other in TWINS)
    checks.record("both tenants use the same addresses", held=same, evidence=", ".join(pairs))
    for crossing in CROSSINGS:
        await _only_own_tenant_hears(stage, checks, crossing)
    await _nobody_answers(stage, checks)


async def _only_own_tenant_hears(stage: Stage, checks: Checks, crossing: Crossing) -> None:
    sender, own, others = crossing.sender, crossing.own, crossing.others
    async with listening([stage.place(own), stage.place(others)], TENANTS) as heard:
        result = await ping(stage.place(sender), stage.address(own), count=PINGS)
    own_heard, others_heard = heard[own.name].of(sender.tenant), heard[others.name].of(sender.tenant)
    held = result.lost == 0 and own_heard == PINGS and others_heard == 0
    evidence = f"{result}; its packets heard in {own.name}: {own_heard}, in {others.name}: {others_heard}"
    claim = f"{sender.name} -> {stage.address(own)} reaches {own.name}, never {others.name}"
    checks.record(claim, held=held, evidence=evidence)


async def _nobody_answers(stage: Stage, checks: Checks) -> None:
    """An address that only one tenant has does not exist for the other."""
    address = stage.address(BARE_METAL)
    red = [place for place in stage.places.values() if place.tenant == BARE_METAL.tenant]
    async with listening(red, [BLUE_WEB_1.tenant]) as heard:
        result = await ping(stage.place(BLUE_WEB_1), address, count=PINGS)
    strays = sum(each.of(BLUE_WEB_1.tenant) for each in heard.values())
    held = result.received == 0 and strays == 0
    evidence = f"{BLUE_WEB_1.name} -> {address}: {result}; its packets heard in {len(heard)} red instances: {strays}"
    checks.record("an address of red alone does not exist for blue", held=held, evidence=evidence)
