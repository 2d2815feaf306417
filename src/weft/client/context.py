"""Which server a command talks to, and with which token: flags, then the environment, then a file, then the default.

A file is TOML with ``server`` and, as the server asks for them, ``token``, ``ca_file``, ``certificate_file`` and
``key_file``. A token is only ever sent to the server that it stands with: naming another server by a flag or
WEFT_SERVER leaves the file's token out.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.client.endpoint import SYSTEM_TLS, TlsFiles
from weft.model.errors import Invalid

DEFAULT_SERVER = "http://127.0.0.1:9696"
MACHINE_FILE = Path("/run/weft/client.toml")
"""Written by whoever runs a server on this machine, such as `weft lab up`."""


@dataclass(frozen=True, slots=True)
class Context:
    """A server, a token for it, and where they were found."""

    server: str
    token: str | None = None
    tls: TlsFiles = SYSTEM_TLS
    source: str = "default"


class _ContextFile(msgspec.Struct, forbid_unknown_fields=True):
    server: str
    token: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


def find_context(
    server: str | None = None,
    token: str | None = None,
    tls: TlsFiles = SYSTEM_TLS,
    *,
    environment: Mapping[str, str] = os.environ,
    files: Iterable[Path] | None = None,
) -> Context:
    """Return the context of a command; `server`, `token` and `tls` are its flags.

    Raises Invalid for a file that is wrong.
    """
    named = server or environment.get("WEFT_SERVER")
    given_token = token or environment.get("WEFT_TOKEN")
    given_tls = _over(tls, _tls_of(environment))
    found = _first_file(context_files(environment) if files is None else files)
    if named is None and found is None:
        return Context(DEFAULT_SERVER, given_token, given_tls)
    if found is None or (named is not None and named != found.server):
        source = "--server" if server else "WEFT_SERVER"
        return Context(named or DEFAULT_SERVER, given_token, given_tls, source)
    return Context(found.server, given_token or found.token, _over(given_tls, found.tls), found.source)


def context_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where a context file may stand: the user's own first, then the machine's."""
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/root"), ".config")
    return Path(home, "weft", "client.toml"), MACHINE_FILE


def _first_file(files: Iterable[Path]) -> Context | None:
    for path in files:
        try:
            text = path.read_text()
        except (FileNotFoundError, PermissionError):  # another user's machine file is as good as none
            continue
        return _read(path, text)
    return None


def _read(path: Path, text: str) -> Context:
    try:
        found = msgspec.convert(tomllib.loads(text), type=_ContextFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f'{path} is no context file: {error}; it holds server = "..." and token = "..."') from None
    tls = TlsFiles(found.ca_file, found.certificate_file, found.key_file)
    return Context(found.server, found.token, tls, str(path))


def _tls_of(environment: Mapping[str, str]) -> TlsFiles:
    return TlsFiles(
        environment.get("WEFT_CA_FILE") or None,
        environment.get("WEFT_CERTIFICATE_FILE") or None,
        environment.get("WEFT_KEY_FILE") or None,
    )


def _over(first: TlsFiles, then: TlsFiles) -> TlsFiles:
    """Return `first`, with what it does not name from `then`. A key goes with its certificate, never with another."""
    pair = first if first.certificate_file is not None else then
    return TlsFiles(first.ca_file or then.ca_file, pair.certificate_file, first.key_file or pair.key_file)
