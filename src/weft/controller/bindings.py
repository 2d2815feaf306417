"""What the fabric has told of every binding, and what it has to tell next.

A binding that is not up waits on its leaves, and is judged again whenever one of them was looked at; one that is up is
only looked at again when a switch was found otherwise than it was left, or refused something. What is not news is not
told: neither twice, nor after a restart.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from weft.controller.clock import Clock
from weft.controller.reports import BindingKey, Reporter
from weft.controller.rows import fabric_realizations
from weft.controller.verdict import Verdict, judge, lost
from weft.controller.worker import SwitchWorker
from weft.fabric.carriage import Carried
from weft.fabric.intent_index import FabricIntent
from weft.model import steps
from weft.model.ids import Epoch, PortId, Revision, SwitchName
from weft.model.intent import Binding, RealizationState, Realizer
from weft.ports.lifecycle import Lifecycle
from weft.protocol.node import RealizationReport, StepReport

UP, PENDING, FAILED = RealizationState.UP, RealizationState.PENDING, RealizationState.FAILED


class _Told(msgspec.Struct):
    """What was told of a binding last."""

    binding: Binding
    state: RealizationState
    reason: str
    seen_at: float
    announced: bool = False
    """Whether the steps up to the leaf were told."""
    durable_at: Revision = Revision(0)
    """Rows that are older than this revision do not know yet what was told."""


class FabricBindings:
    """The bindings that owe the fabric something, by port and epoch, and which leaves they wait on."""

    def __init__(self, workers: Mapping[SwitchName, SwitchWorker], reporter: Reporter, clock: Clock) -> None:
        self.intent = FabricIntent()
        """Replaced by the controller when it reads everything anew."""
        self._workers = workers
        self._reporter = reporter
        self._clock = clock
        self._told: dict[BindingKey, _Told] = {}
        self._epochs: dict[PortId, set[Epoch]] = {}
        self._waiting: dict[SwitchName, set[BindingKey]] = defaultdict(set)
        self._nowhere: set[BindingKey] = set()
        self._doubtful: dict[BindingKey, Revision] = {}

    def take(self, port_id: PortId, life: Lifecycle | None, revision: Revision, position: Revision) -> list[BindingKey]:
        """Take a port's rows as they were at a revision; return its epochs that have to be judged now.

        `position` is how far all changes were taken in. Where the port's rows are newer, and something stands in its
        way, a row that clears the way may be among the changes to come: then it is not judged before `trusted`.
        """
        bindings = life.bindings if life is not None else ()
        owing = {binding.epoch: binding for binding in bindings if Realizer.FABRIC in binding.owed}
        for epoch in self._epochs.get(port_id, set()) - owing.keys():
            self._forget((port_id, epoch))
        if not owing or life is None:
            self._epochs.pop(port_id, None)
            return []
        self._epochs[port_id] = set(owing)
        realized = fabric_realizations(life)
        for epoch, binding in owing.items():
            row = realized.get(epoch)
            state, reason = (row.state, row.reason) if row is not None else (PENDING, "")
            told = self._told.get((port_id, epoch))
            if told is None:
                told = self._told[port_id, epoch] = _Told(binding, state, reason, seen_at=self._clock.now())
            elif not self._reporter.holds((port_id, epoch)) and revision >= told.durable_at:
                told.state, told.reason = state, reason
            told.binding = binding
            if revision > position and self.intent.obstacle(binding) is not None:
                self._doubtful[port_id, epoch] = revision
        return [(port_id, epoch) for epoch in owing if self._told[port_id, epoch].state is not UP]

    def trusted(self, position: Revision) -> list[BindingKey]:
        """Return the epochs that can be judged now that all changes up to a position were taken in."""
        ready = [key for key, revision in self._doubtful.items() if revision <= position]
        for key in ready:
            del self._doubtful[key]
        return ready

    def forget_all_but(self, ports: Iterable[PortId]) -> None:
        """Forget the ports that are gone; for rows that were read anew as a whole."""
        for port_id in self._epochs.keys() - set(ports):
            self.take(port_id, None, Revision(0), Revision(0))

    def judge(self, keys: Iterable[BindingKey]) -> None:
        """Judge these epochs, and tell what is news of them."""
        for key in keys:
            told = self._told.get(key)
            if told is not None and key not in self._doubtful:
                self._tell(key, told, judge(self.intent, self._workers, told.binding))

    def judge_waiting(self, switch: SwitchName) -> None:
        """Judge what waits on a switch; and, if it refused something, what was up and needs just that."""
        self.judge(list(self._waiting.get(switch, ())))
        worker = self._workers.get(switch)
        if worker is not None and worker.refused:
            for binding in list(self.intent.bindings_on(switch)):
                told = self._told.get((binding.port_id, binding.epoch))
                verdict = judge(self.intent, self._workers, binding)
                if told is not None and told.state is UP and verdict.state is FAILED:
                    self._tell((binding.port_id, binding.epoch), told, verdict)

    def judge_nowhere(self) -> None:
        """Judge what no leaf could carry until now: the inventory changed."""
        self.judge(list(self._nowhere))

    def look_for_losses(self, switch: SwitchName, now: Carried, before: Carried | None) -> None:
        """Tell what was up and that a switch, found otherwise than it was left, carries no longer."""
        for binding in list(self.intent.bindings_on(switch)):
            key = (binding.port_id, binding.epoch)
            told, port = self._told.get(key), self.intent.port(binding.port_id)
            if told is None or told.state is not UP or port is None:
                continue
            carriage = self.intent.carriage(switch, binding.node, port.network_id)
            gone = lost(carriage, now, before) if carriage is not None else None
            if gone is not None:
                self._tell(key, told, Verdict(PENDING, f"switch {switch} lost {gone}"))

    def written(self, keys: Iterable[BindingKey], revision: Revision, *, well: bool) -> None:
        """Hear that reports are durable since a revision, or, not `well`, that they never will be."""
        for key in keys:
            told = self._told.get(key)
            if told is not None:
                told.durable_at = revision
                if not well:
                    told.state, told.announced = PENDING, False
                    self._wait(key, told)

    def _tell(self, key: BindingKey, told: _Told, verdict: Verdict) -> None:
        news = (verdict.state, verdict.reason) != (told.state, told.reason)
        if verdict.state is PENDING:
            # What failed is worth reading until it is up.
            news = bool(verdict.reason) and news and told.state is not FAILED
        made = self._steps(told, verdict)
        if news or made:
            told.state = verdict.state if news else told.state
            told.reason = verdict.reason if news else told.reason
            told.announced = True
            self._reporter.tell(
                _actor(verdict),
                RealizationReport(
                    port_id=key[0],
                    epoch=key[1],
                    state=told.state,
                    realizer=Realizer.FABRIC,
                    reason=told.reason,
                    steps=made,
                ),
            )
        self._wait(key, told)

    def _steps(self, told: _Told, verdict: Verdict) -> tuple[StepReport, ...]:
        """Return the steps that were made since the last ones were told."""
        now, detail = self._clock.now(), "; ".join(verdict.found)
        made: list[StepReport] = []
        if not told.announced and told.state is not UP:
            made.append(StepReport(step=steps.SENT, at=told.seen_at))
            if verdict.found:
                made.append(StepReport(step=steps.LEAF_FOUND, at=now, detail=detail))
        if verdict.state is UP and told.state is not UP:
            made.append(StepReport(step=steps.CONFIGURED, at=now, detail=detail))
        return tuple(made)

    def _wait(self, key: BindingKey, told: _Told) -> None:
        """Note on which leaves an epoch waits: on all of its node's while it is not up, on none when it is."""
        leaves = self.intent.topology.leaves_of(told.binding.node)
        for leaf in leaves:
            if told.state is UP:
                self._waiting[leaf].discard(key)
            else:
                self._waiting[leaf].add(key)
        if told.state is UP or leaves:
            self._nowhere.discard(key)
        else:
            self._nowhere.add(key)

    def _forget(self, key: BindingKey) -> None:
        self._told.pop(key, None)
        self._nowhere.discard(key)
        self._doubtful.pop(key, None)
        for waiting in self._waiting.values():
            waiting.discard(key)


def _actor(verdict: Verdict) -> str:
    """Return who made it: the first leaf, since history has one actor to an entry."""
    return f"fabric/{verdict.found[0].split(':')[0]}" if verdict.found else "fabric"
