"""The demo from its first act to its last; each act is a function, and a check that fails does not end the play."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from weft.client import AsyncClient, find_context
from weft.lab import state
from weft.lab.demo.cast import INSTANCES, NETWORKS, TENANTS
from weft.lab.demo.checks import Checks
from weft.lab.demo.live import Follower
from weft.lab.demo.machine import traces
from weft.lab.demo.move import prove_move
from weft.lab.demo.proofs import Stage, prove_isolation, prove_reachability
from weft.lab.demo.remains import prove_gone, survey
from weft.lab.demo.screen import Screen
from weft.lab.demo.spawn import spawn_all, unplug_all
from weft.lab.demo.tenants import Made, create_tenants, delete_ports, delete_tenants
from weft.lab.down import down
from weft.lab.progress import Progress
from weft.lab.up import up
from weft.model.errors import Conflict, WeftError

MAX_UP_S = 20.0
MAX_DOWN_S = 5.0


async def run(file: Path, *, keep: bool) -> bool:
    """Play the demo in a lab of `file`; return whether every check held. Unless `keep`, nothing is left of it."""
    if state.find() is not None:
        raise Conflict("a lab is up on this machine already; the demo builds its own: `weft lab down` removes it")
    screen = Screen()
    checks = Checks(screen.check)
    before = traces()
    try:
        await _build(file, checks, screen)
        async with _client() as client:
            await _play(client, checks, screen)
            if keep:
                await _stay(client, checks, screen)
    except WeftError as error:
        checks.record("the play reaches its end", held=False, evidence=error.message)
    finally:
        if not keep:
            await _leave(before, checks, screen)
    screen.verdict(checks.all)
    if keep:
        screen.what_to_try()
    return not checks.failed


async def _build(file: Path, checks: Checks, screen: Screen) -> None:
    screen.act(f"A data centre from real parts: weft lab up {file}")
    progress = Progress(lambda milestone: screen.say(str(milestone)))
    await up(file, progress)
    evidence = f"{progress.milestones[-1]}".strip() + f" (at most {MAX_UP_S:.0f} s)"
    checks.record("the data centre is up", held=progress.elapsed_s <= MAX_UP_S, evidence=evidence)


async def _play(client: AsyncClient, checks: Checks, screen: Screen) -> None:
    made = Made()
    empty = await survey()
    screen.act("Two tenants with the same addresses")
    await create_tenants(client, made)
    await _show_tenants(client, screen)
    stage = await _spawn(client, made, checks, screen)
    screen.act("Who reaches whom, seen from inside the instances")
    await prove_reachability(stage, checks)
    screen.act("Two tenants, equal addresses, and no packet between them")
    await prove_isolation(stage, checks)
    screen.act("A running instance moves")
    async with _shown_live(client, screen):
        await prove_move(client, made, stage, checks)
    screen.act("Everything is deleted")
    full = await survey()
    await unplug_all()
    await delete_ports(client, made)
    await delete_tenants(client, made)
    await prove_gone(client, empty, full, checks, screen)


async def _spawn(client: AsyncClient, made: Made, checks: Checks, screen: Screen) -> Stage:
    screen.act(f"{len(INSTANCES)} instances, each step as it happens, in seconds from the request")
    async with _shown_live(client, screen):
        return await spawn_all(client, made, checks, screen)


async def _stay(client: AsyncClient, checks: Checks, screen: Screen) -> None:
    """Make it all again, to stay."""
    made = Made()
    screen.act("Once more, to stay")
    await create_tenants(client, made)
    await spawn_all(client, made, checks, screen)


async def _leave(before: frozenset[str], checks: Checks, screen: Screen) -> None:
    screen.act("weft lab down")
    began = time.monotonic()
    lab = await down(Progress(lambda milestone: screen.say(str(milestone))))
    took_s = time.monotonic() - began
    left = sorted(traces(lab.id if lab else None) - before)
    held = not left and took_s <= MAX_DOWN_S
    evidence = "left: " + ", ".join(left) if left else "no namespace, process, mount or link is left"
    checks.record("nothing is left on the machine", held=held, evidence=f"{evidence}; {took_s:.1f} s")


@asynccontextmanager
async def _client() -> AsyncIterator[AsyncClient]:
    """The demo finds the server as every command does."""
    context = find_context()
    async with AsyncClient(context.server, context.token) as client:
        yield client


@asynccontextmanager
async def _shown_live(client: AsyncClient, screen: Screen) -> AsyncIterator[None]:
    follower = Follower(client, screen.step)
    await follower.start()
    try:
        yield
    finally:
        await follower.stop()


async def _show_tenants(client: AsyncClient, screen: Screen) -> None:
    networks = {each["name"]: each for each in await client.networks.list()}
    rows = [
        [each.tenant, each.name, each.cidr, str(networks[each.name].get("provider:segmentation_id", "-"))]
        for each in NETWORKS
    ]
    screen.say(f"{len(TENANTS)} routers, a VRF each; {len(NETWORKS)} networks:")
    screen.table(["TENANT", "NETWORK", "CIDR", "VNI"], rows)
