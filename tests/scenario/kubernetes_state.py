"""What a Kubernetes API server has in etcd: objects with a history of revisions, as lists and watches need it.

Imitated from the API's documentation (Kubernetes API Concepts: resource versions, chunks, watches, bookmarks) and from
what servers of 1.20 and later answer; see the tests for what is imitated.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Kind:
    group_version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def root(self) -> str:
        return f"/{'api' if self.group_version == 'v1' else 'apis'}/{self.group_version}"


KINDS = {
    each.plural: each
    for each in (
        Kind("v1", "pods", "Pod"),
        Kind("v1", "namespaces", "Namespace", namespaced=False),
        Kind("apps/v1", "statefulsets", "StatefulSet"),
    )
}


@dataclass(frozen=True)
class Change:
    """An object was made, changed or deleted: what it was before, and after."""

    revision: int
    plural: str
    key: Key
    before: Json | None
    after: Json | None


class State:
    """Objects, and every change of them. `compacted` is the oldest revision that can still be asked about."""

    def __init__(self, revision: int = 1000) -> None:
        self.revision = revision
        self.compacted = 0
        self.changes: list[Change] = []
        self._uids = count(1)

    def put(self, plural: str, name: str, namespace: str = "shop", *, node: str = "", **metadata: Any) -> Json:
        """Make or change an object, and return it; `metadata` is of its labels, annotations, ownerReferences, uid."""
        key = (namespace if KINDS[plural].namespaced else "", name)
        before = self.at(plural).get(key)
        uid = metadata.pop("uid", None) or (before or {}).get("metadata", {}).get("uid") or f"uid-{next(self._uids)}"
        self.revision += 1
        made: Json = {
            "kind": KINDS[plural].kind,
            "apiVersion": KINDS[plural].group_version,
            "metadata": {
                "name": name,
                **({"namespace": namespace} if KINDS[plural].namespaced else {}),
                "uid": uid,
                "resourceVersion": str(self.revision),
                "creationTimestamp": "2024-01-01T00:00:00Z",
                "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1"}],
                **metadata,
            },
            **_rest(plural, node),
        }
        self.changes.append(Change(self.revision, plural, key, before, made))
        return copy.deepcopy(made)

    def delete(self, plural: str, name: str, namespace: str = "shop") -> None:
        key = (namespace if KINDS[plural].namespaced else "", name)
        before = self.at(plural)[key]
        self.revision += 1
        self.changes.append(Change(self.revision, plural, key, before, None))

    def compact(self) -> None:
        """Forget everything before the present: whoever asks about it is told that it is gone."""
        self.compacted = self.revision

    def at(self, plural: str, revision: int | None = None) -> dict[Key, Json]:
        """Return the objects of a kind as they were at a revision, in the order of their keys."""
        found: dict[Key, Json] = {}
        for each in self.changes:
            if each.plural == plural and (revision is None or each.revision <= revision):
                if each.after is None:
                    found.pop(each.key, None)
                else:
                    found[each.key] = each.after
        return dict(sorted(found.items()))

    def events(self, plural: str, after: int, selector: dict[str, str]) -> Iterator[tuple[int, str, Json]]:
        """Yield what a watch says of the changes after a revision: an object that comes into a selection is ADDED to
        it, one that leaves it is DELETED."""
        for each in self.changes:
            if each.plural != plural or each.revision <= after:
                continue
            was = each.before is not None and selected(each.before, selector)
            is_now = each.after is not None and selected(each.after, selector)
            if is_now:
                assert each.after is not None
                yield each.revision, "MODIFIED" if was else "ADDED", each.after
            elif was:
                assert each.before is not None
                gone = copy.deepcopy(each.before)
                gone["metadata"]["resourceVersion"] = str(each.revision)
                yield each.revision, "DELETED", gone


def _rest(plural: str, node: str) -> Json:
    """Return what an object has besides its metadata: what the API demands, and what is selected by."""
    match plural:
        case "pods":
            containers = [{"name": "main", "image": "registry.example/main"}]
            return {"spec": {"containers": containers, "nodeName": node}, "status": {"phase": "Pending"}}
        case "statefulsets":
            template = {"metadata": {}, "spec": {"containers": []}}
            return {"spec": {"serviceName": "", "selector": {}, "template": template}, "status": {"replicas": 0}}
        case _:
            return {"spec": {}, "status": {}}


def selected(found: Json, selector: dict[str, str]) -> bool:
    values = {
        "metadata.name": found["metadata"]["name"],
        "metadata.namespace": found["metadata"].get("namespace", ""),
        "spec.nodeName": found["spec"].get("nodeName", ""),
    }
    return all(values[field] == value for field, value in selector.items())


FIELDS = frozenset({"metadata.name", "metadata.namespace", "spec.nodeName"})


def metadata_only(found: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}


def status(code: int, reason: str, message: str, **details: Any) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({"details": details} if details else {}),
        "code": code,
    }
