"""TLS for the server's TCP sockets, and certificates by which nodes prove who they are (mTLS)."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from weft.api.settings import ServerSettings
from weft.model.errors import Invalid
from weft.model.ids import NodeName

log = structlog.get_logger()

LOOK_EVERY_S = 10.0
"""How often it is looked whether a certificate was renewed."""

NODE_PREFIX = "node:"
"""A certificate whose common name is ``node:NAME`` is that of the agent of node NAME."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the server's certificate stands, and whose certificates of nodes it believes. All are PEM."""

    certificate: Path
    """The server's own, and those between it and its authority."""
    key: Path
    client_ca: Path | None = None
    """Authorities of nodes' certificates; None: no certificate is asked for."""
    client_crl: Path | None = None
    """Certificates that those authorities have revoked."""

    def paths(self) -> tuple[Path, ...]:
        """Return all files that there are."""
        every = (self.certificate, self.key, self.client_ca, self.client_crl)
        return tuple(path for path in every if path is not None)


def tls_files(settings: ServerSettings) -> TlsFiles | None:
    """Return the files that the settings name; None: no TLS. Raise Invalid if one is named without another."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if settings.tls_client_ca is None and (settings.tls_client_crl or settings.nodes_need_certificate):
        raise Invalid("tls_client_crl and nodes_need_certificate mean nothing without tls_client_ca: give it, too")
    if certificate is None and key is None and settings.tls_client_ca is None:
        return None
    if certificate is None or key is None:
        raise Invalid("TLS takes tls_certificate and tls_key together, and tls_client_ca only besides both")
    return TlsFiles(certificate, key, settings.tls_client_ca, settings.tls_client_crl)


class Tls:
    """The server's side of TLS. Every handshake uses the files as they were last read."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raise Invalid naming the one that is wrong."""
        self._files = files
        self._marks = self._present_marks()
        self._current = _context(files)
        self.context = _context(files)
        """What sockets are served with; it hands each connection over to the newest."""
        self.context.sni_callback = self._hand_over

    def _hand_over(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        del name, context
        connection.context = self._current

    async def follow(self) -> None:
        """Take up renewed files for new connections, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Take up the files if they have changed; what cannot be read is logged, and the old ones stay."""
        marks = self._present_marks()
        if marks == self._marks:
            return
        try:
            self._current = _context(self._files)
        except Invalid as error:
            log.warning("certificates_not_taken_up", reason=error.message)
            return
        self._marks = marks
        log.info("certificates_taken_up", files=[str(path) for path in self._files.paths()])

    def _present_marks(self) -> list[tuple[int, int] | None]:
        marks: list[tuple[int, int] | None] = []
        for path in self._files.paths():
            try:
                found = path.stat()
            except OSError:
                marks.append(None)
            else:
                marks.append((found.st_mtime_ns, found.st_ino))
        return marks


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return what serves a connection; raise Invalid naming the file that is wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A resumed session is not verified again, and would outlive a revocation.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_pair(context, files)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL  # people have tokens, and no certificate
        _load_authorities(context, files.client_ca)
    if files.client_crl is not None:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        _load_authorities(context, files.client_crl)
    return context


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    def no_password() -> str:  # else OpenSSL asks on the terminal, and a server has none
        raise Invalid(f"the key {files.key} is encrypted: a server that starts by itself needs one that is not")

    try:
        context.load_cert_chain(files.certificate, files.key, no_password)
    except (OSError, ssl.SSLError) as error:
        message = f"cannot use the certificate {files.certificate} with the key {files.key}: {error}"
        raise Invalid(message) from None


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"cannot read certificates or revocations of {path}: {error}") from None


def node_of_certificate(certificate: Mapping[str, Any] | None) -> NodeName | None:
    """Return the node that a verified certificate names, in the form of SSLSocket.getpeercert; None if it names none.

    One of several common names could be meant by one reader and overlooked by another: it names none.
    """
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    if len(names) != 1 or not names[0].startswith(NODE_PREFIX):
        return None
    return NodeName(names[0].removeprefix(NODE_PREFIX)) or None
