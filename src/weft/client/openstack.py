"""A server found as OpenStack's clients find one: a cloud of ``clouds.yaml`` or the ``OS_*`` variables, and Keystone.

openstacksdk reads the settings and logs in, by any way that it knows; weft takes its token, and the URL that Keystone's
catalogue has of the network service. It is loaded only when a cloud is asked for: it takes most of a second.
"""

from collections.abc import Mapping

from weft.client.context import Context
from weft.client.endpoint import TlsFiles
from weft.model.errors import Forbidden, Invalid, Transient

SERVICE_TYPE = "network"
NO_TOKEN = "notused"
RETRY_AFTER_S = 1.0


def cloud_is_named(environment: Mapping[str, str]) -> bool:
    """Return whether the environment says of which cloud its commands are."""
    return any(environment.get(name) for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_ENDPOINT"))


def cloud_context(cloud: str | None, server: str | None) -> Context:
    """Log in to a cloud, by name or, if that is None, as the environment says; return its server and a token for it.

    `server` wins over the catalogue. Raises Invalid if the settings make no sense, Forbidden if Keystone refuses the
    login, and Transient if it does not answer.
    """
    try:
        import keystoneauth1.exceptions as refused  # noqa: PLC0415
        from openstack.config import OpenStackConfig  # noqa: PLC0415
        from openstack.exceptions import ConfigException  # noqa: PLC0415
    except ImportError:
        raise Invalid("to log in to a cloud weft wants openstacksdk: pip install 'weft[openstack]'") from None
    named = cloud or "the OS_* variables"
    try:
        region = OpenStackConfig(app_name="weft").get_one(cloud=cloud)
        session = region.get_session()
        token = session.get_token()
        url = server or region.get_endpoint(SERVICE_TYPE) or region.get_session_endpoint(SERVICE_TYPE)
    except refused.Unauthorized as error:
        raise Forbidden(f"Keystone refuses the login of {named}: {error.message}", kind="Unauthorized") from None
    except (refused.ConnectFailure, refused.RetriableConnectionFailure, refused.DiscoveryFailure) as error:
        raise Transient(f"Keystone of {named} does not answer: {error}", retry_after_s=RETRY_AFTER_S) from None
    except (refused.ClientException, ConfigException) as error:
        raise Invalid(f"cannot log in with {named}: {error}") from None
    if url is None:
        raise Invalid(f"Keystone of {named} has no endpoint of type '{SERVICE_TYPE}': register one, or give --server")
    verify, pair = region.get_requests_verify_args()
    if verify is False:
        raise Invalid(f"{named} says not to verify certificates, and weft always does: name the authority as cacert")
    certificate, key = pair if isinstance(pair, tuple) else (pair, None)
    tls = TlsFiles(verify if isinstance(verify, str) else None, certificate, key)
    return Context(_root(url), None if token == NO_TOKEN else token, tls, f"cloud {named}")


def _root(url: str) -> str:
    """Return a server's URL without the version of the API that it may end with."""
    return url.rstrip("/").removesuffix("/v2.0")
