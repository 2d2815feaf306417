"""How an API server is reached: kubeconfigs, tokens that change, certificates, plugins; and what is wrong with them."""

import asyncio
import base64
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import Authority
from click.testing import CliRunner
from kubernetes_server import FakeKubernetes, Fault, serving

from weft.cli.main import weft
from weft.kubernetes.access import connect, described
from weft.kubernetes.api import ExpiredError, KubernetesApi
from weft.kubernetes.objects import NAMESPACES, PODS, STATEFUL_SETS
from weft.kubernetes.settings import ClusterAccess
from weft.model.errors import Invalid, Permanent, Transient


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with serving(tmp_path) as made:
        made.put("pods", "db-0", node="node1", uid="u1")
        yield made


async def uid(api: KubernetesApi) -> str | None:
    try:
        found = await api.get(PODS, "shop", "db-0")
    finally:
        await api.close()
    return None if found is None else found.metadata.uid


def by(path: Path, context: str | None = None) -> ClusterAccess:
    return ClusterAccess(kubeconfig=str(path), context=context)


async def test_a_kubeconfigs_token_opens(kubernetes: FakeKubernetes) -> None:
    access = by(kubernetes.kubeconfig())
    assert await uid(KubernetesApi(access)) == "u1"
    assert described(access) == f"https://127.0.0.1:{kubernetes.port}, by a token"


async def test_who_comes_at_once_shares_a_connection_that_is_closed_in_the_end(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr("weft.kubernetes.api.connect", lambda *given: made.append(connect(*given)) or made[-1])
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    await asyncio.gather(*(api.get(PODS, "shop", "db-0") for _ in range(4)))
    await api.close()
    assert [each.is_closed for each in made] == [True]


async def test_a_context_is_chosen(kubernetes: FakeKubernetes) -> None:
    path = kubernetes.kubeconfig(other={"cluster": "fake", "user": "agent"}, lost={"cluster": "none", "user": "agent"})
    assert await uid(KubernetesApi(by(path, "other"))) == "u1"
    with pytest.raises(Invalid, match="Context 'missing' not found"):
        described(by(path, "missing"))
    with pytest.raises(Invalid, match=r"context 'lost' of .* has no 'none'"):
        described(by(path, "lost"))


async def test_no_proxy_of_the_environment_is_used(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await uid(KubernetesApi(by(kubernetes.kubeconfig()))) == "u1"


async def test_an_authority_that_is_not_the_servers_is_refused(kubernetes: FakeKubernetes, tmp_path: Path) -> None:
    path = kubernetes.kubeconfig()
    document = yaml.safe_load(path.read_text())
    stranger = Authority(tmp_path, "stranger").certificate.read_bytes()
    document["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(stranger).decode()
    path.write_text(yaml.safe_dump(document))
    api = KubernetesApi(by(path))
    with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
        await uid(api)
    kubernetes.kubeconfig()  # somebody puts it right: it is read again
    assert await uid(api) == "u1"


async def test_a_service_account_is_used_with_the_token_that_it_has_now(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(kubernetes.port))
    folder = str(kubernetes.service_account())
    api = KubernetesApi(ClusterAccess(), service_account=folder)
    assert (await api.get(PODS, "shop", "db-0")) is not None
    kubernetes.service_account("token-2")  # the kubelet renews it
    kubernetes.tokens = {"token-2"}  # and the old one runs out
    assert await uid(api) == "u1"
    assert described(ClusterAccess(), folder).endswith("by a token file")


async def test_a_token_that_is_refused_is_told_and_looked_for_again(kubernetes: FakeKubernetes) -> None:
    api = KubernetesApi(by(kubernetes.kubeconfig(token="old")))
    with pytest.raises(Transient, match="does not know us"):
        await api.get(PODS, "shop", "db-0")
    kubernetes.kubeconfig(token="token-1")
    assert await uid(api) == "u1"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_credential_plugin_is_asked(kubernetes: FakeKubernetes, tmp_path: Path, version: str) -> None:
    plugin = tmp_path / "login"
    answer = '{"kind":"ExecCredential","apiVersion":"%s","status":{"token":"%s"}}'
    plugin.write_text(
        "#!/bin/sh\n"
        f'case "$KUBERNETES_EXEC_INFO" in *client.authentication.k8s.io/{version}\\"*) ;; *) exit 3 ;; esac\n'
        f"echo '{answer % (version, 'token-1')}'\n"
    )
    plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": str(plugin)}}
    access = by(kubernetes.kubeconfig(user=user))
    assert await uid(KubernetesApi(access)) == "u1"
    assert described(access).endswith("by a credential plugin")


@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 3", "returned 3"), ("echo '{\"status\": {}}'", "without 'token'"), (None, "No such file")],
)
async def test_a_plugin_that_fails_is_named(
    kubernetes: FakeKubernetes, tmp_path: Path, script: str | None, said: str
) -> None:
    plugin = tmp_path / "login"
    if script is not None:
        plugin.write_text(f"#!/bin/sh\n{script}\n")
        plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    with pytest.raises(Transient, match=said):
        await uid(KubernetesApi(by(kubernetes.kubeconfig(user=user))))


async def test_a_client_certificate_opens(kubernetes: FakeKubernetes) -> None:
    user = kubernetes.client_certificate("system:node:node1")
    access = by(kubernetes.kubeconfig(user=user))
    assert await uid(KubernetesApi(access)) == "u1"
    assert described(access).endswith("by a client certificate")


def one_cluster(**cluster: str) -> bytes:
    document = {
        "clusters": [{"name": "a", "cluster": cluster}],
        "contexts": [{"name": "a", "context": {"cluster": "a"}}],
        "current-context": "a",
    }
    return yaml.safe_dump(document).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not found"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"- a\n- b\n", "cannot be read"),
        (b"", "cannot be read"),
        (b"clusters: [\n", "cannot be read"),
        (b"clusters: []\n", "has no 'contexts'"),
        (b"clusters: []\ncontexts: []\n", "No current context"),
        (b"clusters: [{name: a, cluster: {server: 7}}]\ncontexts: []\n", "cannot be read"),
        (one_cluster(server="ftp://x"), "ftp://x"),
        (
            one_cluster(server="https://x", **{"certificate-authority": "nowhere.crt"}),
            "credentials that cannot be used",
        ),
        (one_cluster(server="https://x", **{"certificate-authority-data": "AAAA"}), "credentials that cannot be used"),
    ],
)
def test_a_kubeconfig_that_is_none_says_what_is_wrong(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Invalid, match=said) as refused:
        described(by(path))
    assert str(path) in refused.value.message


def test_outside_of_a_pod_there_is_no_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="service account"):
        described(ClusterAccess(), str(tmp_path))
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("n")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Invalid, match="KUBERNETES_SERVICE_HOST is not set"):
        described(ClusterAccess(), str(tmp_path))


async def test_an_object_that_is_not_there_is_no_failure_and_a_path_that_is_not_is(kubernetes: FakeKubernetes) -> None:
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    assert await api.get(PODS, "shop", "db-1") is None
    kubernetes.faults.append(Fault("get", 404, body=b"404 page not found"))
    with pytest.raises(Permanent, match="404"):
        await api.get(PODS, "shop", "db-1")
    await api.close()


async def test_each_kind_is_where_the_api_has_it(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("namespaces", "shop", annotations={"weft.dev/release": "never"})
    kubernetes.put("statefulsets", "db")
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    for resource, name in ((PODS, "db-0"), (NAMESPACES, "shop"), (STATEFUL_SETS, "db")):
        page = await api.page(resource)
        assert [each.metadata.name for each in page.items or ()] == [name]
    assert [each.metadata.name for each in (await api.page(PODS, namespace="other")).items or ()] == []
    await api.close()


async def test_a_list_at_a_state_that_is_gone_is_expired(kubernetes: FakeKubernetes) -> None:
    kubernetes.put("pods", "x")
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    page = await api.page(PODS, limit=1)
    kubernetes.put("pods", "y")
    kubernetes.state.compact()
    with pytest.raises(ExpiredError):
        await api.page(PODS, limit=1, after=page.metadata.continue_)
    with pytest.raises(Transient, match="Too large resource version"):
        await api.page(PODS, resource_version="99999")
    await api.close()


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
async def test_a_server_that_hangs_is_given_up(
    kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr("weft.kubernetes.api.TIMEOUT_S", 0.3)
    kubernetes.faults.append(Fault(verb, hang=True))
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    calls: dict[str, Any] = {"get": lambda: api.get(PODS, "shop", "a"), "list": lambda: api.page(PODS)}

    async def watch() -> None:
        async with api.watch(PODS, resource_version="1000"):
            pass

    with pytest.raises(Transient, match="not answer"):
        await calls.get(verb, watch)()
    await api.close()


async def test_an_answer_without_end_is_given_up(kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kubernetes.api.MAX_ANSWER_BYTES", 1000)
    kubernetes.faults.append(Fault("list", body=b" " * 5000))
    api = KubernetesApi(by(kubernetes.kubeconfig()))
    with pytest.raises(Permanent, match="more than 1000 bytes"):
        await api.page(PODS)
    await api.close()


async def test_the_fake_is_like_a_server_to_a_client_of_its_own(kubernetes: FakeKubernetes) -> None:
    """lightkube's typed client, which knows nothing of weft, lists, gets and watches."""
    import lightkube  # noqa: PLC0415 - only this test needs all of it
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415
    from lightkube.resources.core_v1 import Pod  # noqa: PLC0415

    client = lightkube.AsyncClient(KubeConfig.from_file(kubernetes.kubeconfig()).get(), trust_env=False)
    found = client.list(Pod, namespace="shop", fields={"spec.nodeName": "node1"}, chunk_size=1)
    assert [each.metadata.name async for each in found if each.metadata] == ["db-0"]
    version = found.resourceVersion
    kubernetes.put("pods", "db-1", node="node1")
    async for what, each in client.watch(Pod, namespace="*", resource_version=version):
        assert each.metadata is not None
        assert (what, each.metadata.name) == ("ADDED", "db-1")
        break
    assert json.loads(json.dumps((await client.get(Pod, "db-1", namespace="shop")).to_dict()))["kind"] == "Pod"
    await client.close()


async def test_the_server_says_what_its_clusters_come_to(kubernetes: FakeKubernetes) -> None:
    path = kubernetes.kubeconfig()
    said = CliRunner().invoke(weft, ["server", "--check", "--kubernetes", f"prod={path}"])
    assert said.output == (f"cluster prod: https://127.0.0.1:{kubernetes.port}, by a token\nthe settings are good\n")
    for wrong, named in ((f"prod={path}x", "not found"), ("prod", "not NAME=KUBECONFIG"), (f"a/b={path}", "has a /")):
        said = CliRunner().invoke(weft, ["server", "--check", "--kubernetes", wrong])
        assert said.exit_code != 0
        assert isinstance(said.exception, Invalid | SystemExit)
        assert named in said.output + str(said.exception)
