"""From a server's settings to the sources of callers that it asks."""

import time

from weft.api.auth.authenticator import Authentication
from weft.api.auth.credential import TokenSource
from weft.api.auth.json_web_token import JwtTokens, issuer_of
from weft.api.auth.keystone import KeystoneSettings, KeystoneTokens, Login, login_of
from weft.api.auth.remote import Remote
from weft.api.auth.token_file import TokenFile
from weft.api.settings import ServerSettings
from weft.model.errors import Invalid


def authentication(settings: ServerSettings) -> Authentication:
    """Return by what a server with these settings tells callers; raises as token_sources."""
    return Authentication(
        sources=token_sources(settings),
        certificates=settings.tls_client_ca is not None,
        nodes_need_certificate=settings.nodes_need_certificate,
    )


def own_login(settings: ServerSettings) -> Login | None:
    """Return what this server is known by to other services of the cloud; None if it knows no Keystone."""
    return None if settings.keystone is None else login_of(settings.keystone, _keystone(settings.keystone), time.time)


def token_sources(settings: ServerSettings) -> tuple[TokenSource, ...]:
    """Return the sources that the settings name, in the order in which a token is asked of them.

    Raises Invalid if a file that they name cannot be read or holds something wrong.
    """
    sources: list[TokenSource] = []
    if settings.token_file is not None:
        sources.append(TokenFile(settings.token_file, time.time))
    if settings.jwt:
        issuers = {each.issuer: issuer_of(each, time.time) for each in settings.jwt}
        if len(issuers) < len(settings.jwt):
            raise Invalid("two [[jwt]] of the settings have the same issuer: write one for each")
        sources.append(JwtTokens(issuers, time.time))
    if settings.keystone is not None:
        sources.append(KeystoneTokens(settings.keystone, _keystone(settings.keystone), time.time))
    return tuple(sources)


def _keystone(settings: KeystoneSettings) -> Remote:
    return Remote(f"Keystone at {settings.auth_url}", ca_file=settings.ca_file)
