"""An authority of certificates, in a folder, for tests on loopback."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_FOR = timedelta(hours=1)

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Makes certificates; `certificate` is the file of its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .add_extension(_SIGNS_CERTIFICATES, True)
        )
        self.certificate = folder / f"{name}.pem"
        self._write(self.certificate, own.sign(self._key, hashes.SHA256()))

    def issue(self, *common_names: str, file: str, addresses: Iterable[str] = ()) -> tuple[Path, Path]:
        """Write a certificate for 127.0.0.1 and further addresses, and its key, and return both files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])
        names = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", *addresses)]
        made = self._builder(subject, key).add_extension(x509.SubjectAlternativeName(names), False)
        certificate, key_file = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        self._write(certificate, made.sign(self._key, hashes.SHA256()))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key_file.write_bytes(secret)
        return certificate, key_file

    def revoke(self, *certificates: Path) -> Path:
        """Write a list of revoked certificates and return its file."""
        now = datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder(self._name, now, now + VALID_FOR)
        for path in certificates:
            number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
            made = made.add_revoked_certificate(entry)
        path = self._folder / "revoked.pem"
        path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - VALID_FOR,
            not_valid_after=now + VALID_FOR,
        )
        # Strict verification, the default from Python 3.13 on, wants both identifiers (RFC 5280, section 4.2.1).
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        return made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
