"""What the Kubernetes API says of this node's pods: a copy kept by list and watch, and how a call's pod is found in it.

An ADD finds its pod in the copy, waits a moment for it to come, and asks for it once: no request to the API in the
common case. What cannot be known is not guessed where a guess could put a pod into the wrong network: then the ADD
fails, and the runtime tries again. A DEL never waits and never fails for the API.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from weft.agent.cni.errors import CniError, Code
from weft.agent.cni.naming import PodName, annotations_of, pod_of
from weft.agent.cni.request import Call
from weft.kubernetes.api import KubernetesApi
from weft.kubernetes.objects import NAMESPACES, PODS, namespace_annotations, pod_facts
from weft.kubernetes.pod import NETWORK_LABELS, PORT_NAME, SOURCE, PodFacts
from weft.kubernetes.reflector import Reflector
from weft.model.errors import WeftError

WAIT_S = 1.0
"""How long an ADD waits for its pod to come into the copy: the kubelet and the agent are told by different watches."""
LOOKUP_S = 5.0
"""How long it may take to ask for it then, with all waiting."""
MAX_LOOKUPS = 8
"""Requests for single objects that are under way at once."""
MAX_PODS = 4096
"""Pods in the copy; a node has some hundreds. More are a wrong node name, and are asked for one by one."""

log = structlog.get_logger()


class Pods:
    """`run` it beside the CNI service, which asks for `facts`."""

    def __init__(
        self,
        api: KubernetesApi,
        node: str,
        *,
        labels: bool = True,
        wait_s: float = WAIT_S,
        lookup_s: float = LOOKUP_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`node` is the kubelet's name of this node. `labels`: whether pods' labels and namespaces may say something
        for the network; if not, annotations that the runtime passes are all that there is to know."""
        self._api = api
        self._labels = labels
        self._wait_s, self._lookup_s = wait_s, lookup_s
        self._moved = asyncio.Event()
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self.pods: Reflector[PodFacts] = Reflector(
            api,
            PODS,
            pod_facts,
            field_selector=f"spec.nodeName={node}",
            changed=self._move,
            limit=MAX_PODS,
            sleep=sleep,
        )
        self.namespaces: Reflector[Mapping[str, str]] = Reflector(
            api, NAMESPACES, namespace_annotations, changed=self._move, sleep=sleep
        )

    async def run(self) -> None:
        """Keep the copies, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.pods.run(), name="kubernetes-pods")
                if self._labels:
                    tasks.create_task(self.namespaces.run(), name="kubernetes-namespaces")
        finally:
            await self._api.close()

    async def facts(self, call: Call, document: Mapping[str, Any]) -> PodFacts | None:
        """Return what is known of a call's pod; None: what the call itself says must do, and does.

        Raises CniError for an ADD of a pod that is gone, and of one of which not enough can be known now.
        """
        named = pod_of(call)
        if named is None:
            return None
        if call.command != "ADD":
            return self._known(named)
        annotations = annotations_of(document)
        if annotations.get(SOURCE, "api") != "api":
            return None  # a static pod: it may be the API server itself
        try:
            async with asyncio.timeout(self._wait_s + self._lookup_s):
                found = await self._find(named, suffices=self._suffices(annotations))
                return None if found is None else await self._with_namespace(found)
        except TimeoutError:
            trouble = f"the API server does not answer within {self._lookup_s:g} s"
        except WeftError as error:
            trouble = error.message
        if self._suffices(annotations):
            log.info("pod_named_without_api", namespace=named.namespace, pod=named.name, reason=trouble)
            return None
        raise _unknown(named, trouble, passed=bool(annotations))

    def _suffices(self, annotations: Mapping[str, str]) -> bool:
        """Tell whether what the runtime passes decides what could be decided wrongly: name and network."""
        if not annotations:
            return False
        return not self._labels or (PORT_NAME in annotations and NETWORK_LABELS in annotations)

    def _known(self, named: PodName) -> PodFacts | None:
        found = self.pods.objects.get((named.namespace, named.name))
        if found is None or not found.is_of(named.uid):
            return None
        defaults = self.namespaces.objects.get(("", named.namespace), {})
        return msgspec.structs.replace(found, namespace_annotations=defaults)

    async def _find(self, named: PodName, *, suffices: bool) -> PodFacts | None:
        """Return a pod, or None if it can be done without. Raises CniError if there is none, WeftError if none can be
        asked for."""
        if self.pods.is_current or not self.pods.trouble:
            found = await self._until_known(named)
        else:
            found = self._known(named)
        if found is not None:
            return found
        if suffices and not self.pods.is_current:
            return None
        async with self._lookups:
            asked = await self._api.get(PODS, named.namespace, named.name)
        answer = None if asked is None else pod_facts(asked)
        if answer is None or not answer.is_of(named.uid):
            what = "is not in the API" if answer is None else f"is another one there, with uid {answer.uid}"
            message = f"pod {named.namespace}/{named.name} with uid {named.uid or '(none)'} {what}"
            raise CniError(Code.TRY_AGAIN_LATER, message, "it was deleted, or the API server is behind the kubelet")
        return answer

    async def _until_known(self, named: PodName) -> PodFacts | None:
        """Wait until a pod is in the copy, or for WAIT_S, or until there is trouble."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_s
        while (found := self._known(named)) is None and not self.pods.trouble:
            try:
                async with asyncio.timeout_at(until):
                    await self._moved.wait()
            except TimeoutError:
                return None
        return found

    async def _with_namespace(self, pod: PodFacts) -> PodFacts:
        """Add what a pod's namespace says. Raises WeftError if that cannot be known."""
        if not self._labels:
            return pod
        said = self.namespaces.objects.get(("", pod.namespace))
        if said is None:
            async with self._lookups:
                asked = await self._api.get(NAMESPACES, None, pod.namespace)
            said = {} if asked is None else namespace_annotations(asked)
        return msgspec.structs.replace(pod, namespace_annotations=said)

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _unknown(named: PodName, trouble: str, *, passed: bool) -> CniError:
    message = f"pod {named.namespace}/{named.name} cannot be looked up: {trouble}"
    if passed:
        details = (
            f"its annotations do not have both {PORT_NAME} and {NETWORK_LABELS}, so labels that cannot be read now may"
            " say more; if no labels do in this cluster, set labels = false under [kubernetes] of the agent"
        )
    else:
        details = "the runtime passes no annotations, so nothing says which network it belongs to"
    return CniError(Code.TRY_AGAIN_LATER, message, details)
