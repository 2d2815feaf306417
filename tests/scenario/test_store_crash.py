"""kill -9 under load: what was acknowledged is there, what was not is there whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

from core_world import world

from weft.store.check import contradictions

VICTIM = Path(__file__).parent / "store_victim.py"
ACKNOWLEDGED_BEFORE_THE_KILL = 120


def run_victim(folder: Path, network_id: str, life: int) -> tuple[set[str], set[str]]:
    """Let it work for a while, kill it, and return the ids of ports that it was told are there, and are gone."""
    created, deleted = set(), set()
    command = [sys.executable, str(VICTIM), str(folder), network_id, str(life)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    ) as victim:
        assert victim.stdout is not None
        for line in victim.stdout:
            (created if line[0] == "+" else deleted).add(line[1:].strip())
            if len(created) == ACKNOWLEDGED_BEFORE_THE_KILL:
                victim.kill()
    return created, deleted


async def test_nothing_acknowledged_is_lost_and_no_address_is_held_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        network, _ = await w.segment("10.0.0.0/16")
    for life in (1, 2):
        created, deleted = run_victim(tmp_path, network.id, life)
        assert len(created) >= ACKNOWLEDGED_BEFORE_THE_KILL
        assert deleted
        async with world(tmp_path) as w:
            ports = {view.port.id: view for view in await w.store.read(lambda snapshot: snapshot.ports())}
            assert created <= ports.keys()
            assert not deleted & ports.keys()
            addresses = [ip.address for view in ports.values() for ip in view.port.fixed_ips]
            assert len(addresses) == len(set(addresses)) == len(ports)
            assert await w.store.read(contradictions) == []
