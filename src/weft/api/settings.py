"""What `weft server` is told: one frozen object, parsed once from a TOML file and from flags."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from weft.api.auth.json_web_token import JwtSettings
from weft.api.auth.keystone import KeystoneSettings
from weft.api.limits import LimitSettings
from weft.controller.nova.client import NovaSettings
from weft.kubernetes.settings import ClusterSettings, cluster_problems
from weft.model.errors import Invalid

DEFAULT_LISTEN = ("127.0.0.1:9696",)
DEFAULT_DB = "sqlite:////var/lib/weft/weft.db"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a server process."""

    listen: tuple[str, ...] = DEFAULT_LISTEN
    """Where to listen: ``HOST:PORT``, ``unix:/PATH`` or ``fd:N``; see weft.api.listen."""
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """How many processes serve the API: one keeps a core busy. The first of them may run controllers, too."""
    db: str = DEFAULT_DB
    token_file: Path | None = None
    """Tokens with their roles and projects, one a line; see weft.api.auth.token_file. Without this and any other
    credential only loopback and unix sockets are accepted."""
    tls_certificate: Path | None = None
    """The certificate of the server's TCP sockets, with those up to its authority (PEM). None: plain HTTP."""
    tls_key: Path | None = None
    """The certificate's key (PEM, not encrypted)."""
    tls_client_ca: Path | None = None
    """Authorities of the certificates by which nodes prove who they are: ``CN=node:NAME``."""
    tls_client_crl: Path | None = None
    """What those authorities have revoked."""
    nodes_need_certificate: bool = False
    """Whether a node's token is good only beside its certificate."""
    keystone: KeystoneSettings | None = None
    """Whose tokens are callers'; ``[keystone]``."""
    jwt: tuple[JwtSettings, ...] = ()
    """Issuers of JSON Web Tokens that are trusted; ``[[jwt]]``."""
    nova: NovaSettings | None = None
    """Who is told when instances' ports are up; ``[nova]``. None: nobody."""
    kubernetes: tuple[ClusterSettings, ...] = ()
    """Clusters whose containers' ports may be held until their objects are gone; ``[[kubernetes]]``."""
    limits: LimitSettings = LimitSettings()
    """How much the server takes on; ``[limits]``."""
    switch_key: Path | None = None
    """The private key that switches accept. None: no switch can be reached."""
    switch_user: str = "root"
    """Whom switches know by that key."""
    switch_known_hosts: Path | None = None
    """Host keys of switches; one that is new is added. None: they are remembered until the process ends."""
    eapi_user: str = "admin"
    """Whom switches know that are driven by eAPI."""
    eapi_password_file: Path | None = None
    """Holds that user's password. None: no such switch can be reached."""
    eapi_ca: Path | None = None
    """Authorities of those switches' certificates (PEM). None: the system's."""
    controllers: bool = True
    """Whether controllers may run here: each where its shard is led, of all on one database. False: the API only."""
    project: str = "default"
    """Owner of what is created by a request that names no project."""


def load_settings(config: Path | None, flags: Mapping[str, object]) -> ServerSettings:
    """Return the settings of a TOML file with `flags` put over them; a flag that is None or empty was not given.

    Raises Invalid with the file and the key if either holds something unknown or of the wrong type.
    """
    written = _read(config) if config else {}
    given = {key: value for key, value in flags.items() if value not in (None, (), "")}
    source = f"{config}" if config else "the flags"
    try:
        settings = msgspec.convert({**written, **given}, ServerSettings, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Invalid(f"{source}: {error}") from None
    if problems := cluster_problems(settings.kubernetes):
        raise Invalid(f"{source}: {'; '.join(problems)}")
    return settings


def _path(kind: type, value: object) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"expected a path as a string, got {value!r}")
    return Path(value)


def _read(config: Path) -> dict[str, object]:
    try:
        return tomllib.loads(config.read_text())
    except OSError as error:
        raise Invalid(f"cannot read the configuration file {config}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{config} is not TOML: {error}") from None
