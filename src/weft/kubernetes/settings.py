"""Where a cluster is described. Values only: whoever has no cluster loads no client of one."""

import msgspec


class ClusterAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an API server is described."""

    kubeconfig: str | None = None
    """A kubeconfig file; None: the service account of the pod that this runs in."""
    context: str | None = None
    """Of the kubeconfig; None: its current one."""

    def __str__(self) -> str:
        if self.kubeconfig is None:
            return "the pod's service account"
        return self.kubeconfig if self.context is None else f"context '{self.context}' of {self.kubeconfig}"


class ClusterSettings(ClusterAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster whose objects the server looks at; ``[[kubernetes]]``."""

    name: str
    """What the names of its workloads begin with: the `cluster` of its nodes' CNI configuration."""
    uid: str | None = None
    """The uid of its namespace kube-system. None: that of the cluster that had this name first."""


def cluster_problems(clusters: tuple[ClusterSettings, ...]) -> list[str]:
    """Return what is wrong with the clusters as a whole."""
    names = [each.name for each in clusters]
    found = [f"[[kubernetes]] name '{name}' is empty or has a /" for name in names if not name or "/" in name]
    found += [f"[[kubernetes]] names '{name}' twice" for name in sorted(set(names)) if names.count(name) > 1]
    found += [
        f"[[kubernetes]] '{each.name}' has context '{each.context}', but no kubeconfig that it is in"
        for each in clusters
        if each.context is not None and each.kubeconfig is None
    ]
    return found
