"""Releases the ports of containers that are held until their object is gone, when the cluster says that it is.

It lists, it does not listen: what is released is gone from two whole lists of the present state, a minute apart. While
an API server is away, refuses, or is not the one that it was, nothing of its cluster is released.
"""

from functools import partial

import msgspec
import structlog

from weft.controller.clock import Clock, SystemClock
from weft.intent.workload_release import HeldWorkload, held_for_objects, release_held
from weft.kubernetes.api import KubernetesApi
from weft.kubernetes.departed import Present, Suspects, departed, namespaces_of
from weft.kubernetes.objects import NAMESPACES, PODS, STATEFUL_SETS
from weft.kubernetes.settings import ClusterSettings
from weft.model.errors import Permanent, WeftError
from weft.store import Kind, Snapshot, Store, Transaction

LOOK_S = 60.0
"""How often a cluster is looked at, if anything is held for it."""
MAX_RELEASED = 500
"""Ports that one look releases; the next goes on."""
MAX_NAMESPACES = 200
"""Namespaces whose pods one look lists; what is held in others waits for a later one."""
SYSTEM_NAMESPACE = "kube-system"
"""Every cluster has it, from its beginning to its end: its uid is the cluster's."""

log = structlog.get_logger()


class KnownCluster(msgspec.Struct, frozen=True):
    """Which cluster has a name."""

    id: str
    uid: str


class WorkloadObjects:
    """One cluster's held ports. `run` it in one process of all on a database; two that overlap do no harm."""

    def __init__(
        self, store: Store, cluster: ClusterSettings, api: KubernetesApi, *, clock: Clock | None = None
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._api = api
        self._clock = clock or SystemClock()
        self._suspects: Suspects = {}
        self._turn = 0
        self._trouble = ""

    async def run(self) -> None:
        """Look every LOOK_S, until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                    self._trouble = ""
                except WeftError as error:
                    self._tell(error.message)
                except Exception:
                    # Nothing that goes wrong with a cluster may stop the other controllers.
                    log.exception("cluster_look_failed", cluster=self._cluster.name)
                await self._clock.sleep(LOOK_S)
        finally:
            await self._api.close()

    async def look(self) -> list[HeldWorkload]:
        """Look once, and release what is gone for the second time; return that. Raises what the API server does."""
        name = self._cluster.name
        held = await self._store.read(lambda snapshot: held_for_objects(snapshot, name))
        if not held:
            self._suspects = {}
            return []
        await self._check_identity()
        present = await self._present(held)
        gone, self._suspects = departed(held, present, name, self._suspects, self._clock.now())
        released = []
        for each in gone[:MAX_RELEASED]:
            if await self._store.transact(partial(_release, held=each, actor=f"kubernetes/{name}")):
                log.info("workload_released", cluster=name, workload=each.name, port=each.port_id)
                released.append(each)
        return released

    async def _present(self, held: list[HeldWorkload]) -> Present:
        """Return what the cluster has now: after `held` was read, so that nothing made since is missed."""
        concerned = namespaces_of(held, self._cluster.name)
        start = self._turn % max(len(concerned), 1)
        asked = (concerned[start:] + concerned[:start])[:MAX_NAMESPACES]
        self._turn = start + len(asked)
        stateful_sets = {each.metadata.key for each in await self._api.whole(STATEFUL_SETS)}
        pods = {each.metadata.key for space in asked for each in await self._api.whole(PODS, namespace=space)}
        return Present(stateful_sets=stateful_sets, pods=pods, namespaces=frozenset(asked))

    async def _check_identity(self) -> None:
        """Raise Permanent if this is not the cluster that had the name first, or that the settings mean."""
        name = self._cluster.name
        found = await self._api.get(NAMESPACES, None, SYSTEM_NAMESPACE)
        uid = None if found is None else found.metadata.uid
        if not uid:
            raise Permanent(f"cluster '{name}' has no namespace {SYSTEM_NAMESPACE}: is this a Kubernetes API?")
        known = await self._store.read(lambda snapshot: _known(snapshot, name))
        expected = self._cluster.uid or (known.uid if known is not None else uid)
        if uid != expected:
            message = f"{self._cluster} is cluster {uid}, not {expected}, which is called '{name}': nothing is released"
            hint = f'if it has taken that one\'s place, set uid = "{uid}" for it under [[kubernetes]]'
            raise Permanent(f"{message}; {hint}")
        if known is None or known.uid != uid:
            await self._store.transact(lambda tx: tx.put_record(Kind.CLUSTER, name, KnownCluster(name, uid)))

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("cluster_not_looked_at", cluster=self._cluster.name, reason=trouble)
        self._trouble = trouble


def _known(snapshot: Snapshot, name: str) -> KnownCluster | None:
    return snapshot.record(Kind.CLUSTER, KnownCluster, name)


def _release(tx: Transaction, held: HeldWorkload, actor: str) -> bool:
    return release_held(tx, held.port_id, held.epoch, actor=actor)
