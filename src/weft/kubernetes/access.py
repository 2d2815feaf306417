"""How an API server is reached: a kubeconfig's context, or the service account of the pod that this runs in.

The reading of both, and the credentials of a request, are lightkube's: tokens, token files that are read again when
they are refused, client certificates, and credential plugins. No proxy of the environment is used.
"""

import json
from pathlib import Path

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import NameValue, User
from lightkube.core.exceptions import ConfigError

from weft.kubernetes.settings import ClusterAccess
from weft.model.errors import Invalid

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 10.0
EXEC_V1, EXEC_V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
EXEC_INFO = "KUBERNETES_EXEC_INFO"
"""Where a credential plugin reads in which version it is to answer."""


def configuration(access: ClusterAccess, service_account: str = SERVICE_ACCOUNT) -> SingleConfig:
    """Read how to reach a cluster. Raises Invalid."""
    try:
        if access.kubeconfig is None:
            found = KubeConfig.from_service_account(service_account).get()
        else:
            found = KubeConfig.from_file(access.kubeconfig).get(access.context)
    except KeyError as error:
        if access.kubeconfig is None:
            message = f"{error.args[0]} is not set: this runs in no pod; name a kubeconfig"
        else:
            message = f"{access} has no {error}"
        raise Invalid(message) from None
    except (ConfigError, OSError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise Invalid(f"{access} cannot be read: {_said(error)}") from None
    assert found is not None, "KubeConfig.get without a default raises if there is no context"
    if not found.cluster.server.startswith(("https://", "http://")):
        raise Invalid(f"{access} names the server '{found.cluster.server}', which is neither https://… nor http://…")
    return found._replace(user=_with_exec_version(found.user or User()))


def connect(access: ClusterAccess, service_account: str = SERVICE_ACCOUNT) -> httpx2.AsyncClient:
    """Return an HTTP client of an API server; every call reads its description anew. Raises Invalid."""
    found = configuration(access, service_account)
    timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        return AsyncClient(found, ConnectionParams(timeout=timeout, trust_env=False))
    except (ConfigError, OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise Invalid(f"{access} has credentials that cannot be used: {_said(error)}") from None


def described(access: ClusterAccess, service_account: str = SERVICE_ACCOUNT) -> str:
    """Return in words where a cluster is, and as whom it is asked; reads files only. Raises Invalid."""
    found = configuration(access, service_account)
    connect(access, service_account)  # certificates are read with the client
    user = found.user
    assert user is not None
    if user.token_file is not None and not Path(user.token_file).is_file():
        raise Invalid(f"{access} names the token file {user.token_file}, which is not there")
    ways = {
        "a token file": user.token_file,
        "a token": user.token,
        "a credential plugin": user.exec,
        "a password": user.username and user.password,
        "a client certificate": user.client_cert or user.client_cert_data,
    }
    known_by = next((way for way, given in ways.items() if given), "no credential")
    return f"{found.cluster.server}, by {known_by}"


def _with_exec_version(user: User) -> User:
    """Let a plugin of v1 be called: lightkube knows its older versions, whose answer has the token in the same place.

    A plugin reads from its environment which version to answer in; lightkube leaves that out.
    """
    plugin = user.exec
    if plugin is None:
        return user
    info = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = [*(plugin.env or []), NameValue(name=EXEC_INFO, value=json.dumps(info))]
    version = EXEC_V1BETA1 if plugin.apiVersion == EXEC_V1 else plugin.apiVersion
    called = msgspec.structs.replace(plugin, env=environment, apiVersion=version)
    return msgspec.structs.replace(user, exec=called)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
