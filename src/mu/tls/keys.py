"""The keys of a job: made for one run in memory, read from the user's PEM files, or written to such files.

Both ends of a job's connections authenticate with certificates of one CA. The *extended key usage* in a certificate
tells for which end it may be used. Names and addresses are not checked, since workers have none, so only that usage
prevents a worker's certificate from posing as the coordinator; it is set and checked here.

Files are checked before anything is launched with all that a connection will require, since a certificate that
thousands of workers would refuse should be one line on the user's terminal instead. Checks with a good message come
first; the last one is a real TLS handshake in memory, which finds the rest (keys that are too short, unsuitable kinds
of keys, other restrictions).
"""

import base64
import contextlib
import dataclasses
import datetime as dt
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto

from mu.errors import UsageError, reason
from mu.tls import connection
from mu.wire.connect import OUR_CA

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH

# Clocks differ, so a certificate is valid from a day before it was made.
CLOCK_SKEW = dt.timedelta(days=1)
# Keys in memory end with the run, so this must only be longer than any run, with its time in Slurm's queue.
RUN_VALIDITY = dt.timedelta(days=365)
# Files are for one user's own machines; the user deletes them to withdraw them.
FILE_VALIDITY = dt.timedelta(days=3650)

# The name of the CAs that mu makes, by which its own certificates are recognized (`mu.wire.connect.OUR_CA`).
CA_NAME = OUR_CA.decode()

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key as they are sent: the base64 body of the PEM block, on one line.

    `cert` may be a chain, the own certificate first: several bodies separated by one space. `key` is PKCS#8, or
    PKCS#1 if it is an RSA key, because workers and coordinators of the original read only that form.
    """

    cert: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class JobKeys:
    """The keys of one job. `ca` is one or several certificates in the form of `Pair.cert`.

    `worker_is_server` is true if no pair was given for workers, so that they get the server's own; `worker_may_serve`
    if theirs is valid for servers, so that a worker could pose as the coordinator.
    """

    ca: str
    server: Pair
    worker: Pair
    worker_is_server: bool = False
    worker_may_serve: bool = False


@dataclass(frozen=True)
class _Issued:
    """A certificate and its private key, before they are encoded."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)


def make_job_keys(kind: str = "ec") -> JobKeys:
    """Makes a CA and, signed by it, a pair for the server and one for the workers, valid for a year.

    `kind` is `ec`, or `rsa` for workers and coordinators that can read no other, as those of the original. Nothing is
    written. The CA's private key is dropped on return, so that nobody can sign another certificate.
    """
    ca = _issue(CA_NAME, None, (), RUN_VALIDITY, kind)
    server = _issue("mu server", ca, (SERVER,), RUN_VALIDITY, kind)
    worker = _issue("mu worker", ca, (CLIENT,), RUN_VALIDITY, kind)
    return JobKeys(_cert_body([ca.cert]), _pair([server.cert], server.key), _pair([worker.cert], worker.key))


def load_job_keys(
    cacert_path: PathLike,
    srvcrt_path: PathLike,
    srvkey_path: PathLike,
    worker_cert_path: PathLike | None = None,
    worker_key_path: PathLike | None = None,
) -> JobKeys:
    """Reads a job's keys from PEM files.

    A certificate file may hold the intermediate certificates after its own; the CA file may hold several CAs. A key
    may be in any unencrypted PEM form. Without a pair for workers they get the server's.

    Raises UsageError, which names the file, if a file cannot be read or holds something else, if a key does not
    belong to its certificate, or if a certificate has expired, does not chain to the CA, or is not for its end.
    """
    if (worker_cert_path is None) != (worker_key_path is None):
        given, lacking = ("key", "certificate") if worker_cert_path is None else ("certificate", "key")
        raise UsageError(f"the workers' {given} is given without their {lacking}: give both or neither")
    cas = _read_certificates(cacert_path)
    if len(cas) == 1:  # if there are several, unused ones may have expired
        _check_dates(cacert_path, cas[0])
    server = _read_pair(srvcrt_path, srvkey_path, cacert_path, cas)
    if not _allows(server, SERVER):
        raise UsageError(f"{srvcrt_path} is not for servers: its extended key usage lacks serverAuth")
    worker, worker_is_server = server, True
    if worker_cert_path is not None and worker_key_path is not None:
        worker, worker_is_server = _read_pair(worker_cert_path, worker_key_path, cacert_path, cas), False
    if not _allows(worker, CLIENT):
        if not worker_is_server:
            raise UsageError(
                f"{worker_cert_path} is not for workers: its extended key usage lacks clientAuth"
            )
        raise UsageError(
            f"{srvcrt_path} cannot be sent to workers, its extended key usage lacks clientAuth:"
            " give them a pair of their own with --worker-cert and --worker-key"
        )
    refusal = _try_handshake(cas, server, worker)
    if refusal:
        files = [cacert_path, srvcrt_path] + ([] if worker_cert_path is None else [worker_cert_path])
        raise UsageError(
            f"{', '.join(str(path) for path in files)}: the TLS handshake with these fails: {refusal}"
        )
    may_serve = _allows(worker, SERVER)
    return JobKeys(_cert_body(cas), _pair(*server), _pair(*worker), worker_is_server, may_serve)


def load_server_keys(cacert_path: PathLike, cert_path: PathLike, key_path: PathLike) -> tuple[str, Pair]:
    """Reads a CA and the pair of a server other than the coordinator from PEM files, as `load_job_keys` does."""
    cas = _read_certificates(cacert_path)
    if len(cas) == 1:
        _check_dates(cacert_path, cas[0])
    server = _read_pair(cert_path, key_path, cacert_path, cas)
    if not _allows(server, SERVER):
        raise UsageError(f"{cert_path} is not for servers: its extended key usage lacks serverAuth")
    return _cert_body(cas), _pair(*server)


def write_job_key_files(directory: Path, kind: str = "ec") -> list[Path]:
    """Makes a CA and three pairs, valid for ten years, and writes them to `directory`; returns the paths.

    `kind` is as for `make_job_keys`. The files are NAME_key.pem, which only their owner can read, and NAME_cert.pem.
    The server's certificates are valid for both ends, since they may also be sent to workers; the worker's is valid
    for workers only.

    Raises UsageError, and leaves nothing behind, if one of the files exists or cannot be written.
    """
    ca = _issue(CA_NAME, None, (), FILE_VALIDITY, kind)
    pairs = {
        "ca": ca,
        "server": _issue("mu server", ca, (SERVER, CLIENT), FILE_VALIDITY, kind),
        "server2": _issue("mu server 2", ca, (SERVER, CLIENT), FILE_VALIDITY, kind),
        "worker": _issue("mu worker", ca, (CLIENT,), FILE_VALIDITY, kind),
    }
    pem = serialization.Encoding.PEM
    files: list[tuple[Path, int, bytes]] = []
    for name, pair in pairs.items():
        files.append((directory / f"{name}_key.pem", 0o600, _key_bytes(pair.key, pem)))
        files.append((directory / f"{name}_cert.pem", 0o644, pair.cert.public_bytes(pem)))
    for path, _, _ in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists and is not overwritten: work in another directory")
    written: list[Path] = []
    try:
        for path, mode, content in files:
            # O_EXCL refuses files and links that appeared since the check above.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UsageError(f"cannot write {error.filename or directory}: {reason(error)}") from None
        raise
    return written


def _issue(
    name: str,
    issuer: _Issued | None,
    usage: Sequence[x509.ObjectIdentifier],
    validity: dt.timedelta,
    kind: str,
) -> _Issued:
    """Makes a key, ECDSA P-256 or RSA of 2048 bits, and its certificate; without an issuer a self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    signer = issuer.key if issuer else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    is_ca = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(_key_usage(is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return _Issued(builder.sign(signer, hashes.SHA256()), key)


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _read(path: PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None
    except ValueError:  # the name contains a NUL
        raise UsageError(f"cannot read {str(path)!r}: not a file name") from None


def _read_certificates(path: PathLike) -> list[x509.Certificate]:
    """Returns all certificates of a PEM file, in its order."""
    data = _read(path)
    try:
        certificates = x509.load_pem_x509_certificates(data)
        for certificate in certificates:
            _ = certificate.extensions  # parsed lazily, so errors must be found here
    except Exception:  # not only ValueError
        found = "a damaged" if b"-----BEGIN CERTIFICATE-----" in data else "no PEM"
        raise UsageError(f"{path} holds {found} certificate") from None
    return certificates


def _read_key(path: PathLike) -> PrivateKeyTypes:
    """Returns the private key of a PEM file, which may hold other blocks, too (EC parameters, the certificate)."""
    data = _read(path)
    match = re.search(rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.*?-----END \1-----", data, re.DOTALL)
    if not match:
        raise UsageError(f"{path} holds no PEM private key")
    block = match.group() + b"\n"
    if b"ENCRYPTED" in block:
        raise UsageError(f"{path} holds an encrypted private key: decrypt it (openssl pkey -in OLD -out NEW)")
    try:
        return serialization.load_pem_private_key(block, password=None)
    except Exception:  # several classes, whose texts may quote the key
        raise UsageError(f"{path} holds a private key that is damaged or of an unknown kind") from None


_Loaded = tuple[list[x509.Certificate], PrivateKeyTypes]


def _read_pair(
    cert_path: PathLike, key_path: PathLike, ca_path: PathLike, cas: Sequence[x509.Certificate]
) -> _Loaded:
    certificates, key = _read_certificates(cert_path), _read_key(key_path)
    if _public_bytes(key.public_key()) != _public_bytes(certificates[0].public_key()):
        raise UsageError(f"{key_path} is not the key of the certificate in {cert_path}")
    for certificate in certificates:
        _check_dates(cert_path, certificate)
    store = crypto.X509Store()
    for ca in cas:
        store.add_cert(crypto.X509.from_cryptography(ca))
    own, *others = (crypto.X509.from_cryptography(certificate) for certificate in certificates)
    try:
        crypto.X509StoreContext(store, own, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise UsageError(f"{cert_path} does not chain to the CA in {ca_path}: {error}") from None
    return certificates, key


def _check_dates(path: PathLike, certificate: x509.Certificate) -> None:
    now, start, end = (
        dt.datetime.now(dt.UTC),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    if now < start:
        raise UsageError(f"{path}: the certificate is not valid before {start:%F %R} UTC")
    if now > end:
        raise UsageError(f"{path}: the certificate expired on {end:%F %R} UTC")


def _allows(pair: _Loaded, end: x509.ObjectIdentifier) -> bool:
    """Returns whether a certificate may be used at this end; one that states no use may."""
    try:
        return end in pair[0][0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True


def _try_handshake(cas: Sequence[x509.Certificate], server: _Loaded, worker: _Loaded) -> str:
    """Connects both ends in memory; returns why that fails, or an empty text."""
    try:
        contexts = [
            connection.context(_cert_body(cas), *dataclasses.astuple(_pair(*pair)), server=serves)
            for pair, serves in ((server, True), (worker, False))
        ]
    except (TypeError, ValueError):  # pyOpenSSL does not support this kind of key
        return "this kind of key cannot be used for TLS"
    except (SSL.Error, crypto.Error) as error:
        return _words(error)
    return try_handshake(*contexts)


def try_handshake(server: SSL.Context, client: SSL.Context) -> str:
    """Connects two ends in memory; returns why that fails, or an empty text."""
    ends = [SSL.Connection(context, None) for context in (client, server)]
    try:
        ends[0].set_connect_state()
        ends[1].set_accept_state()
        # Enough turns for either version; in TLS 1.3 the worker's certificate is checked after the worker's own
        # handshake.
        for _ in range(4):
            for end, other in (ends, ends[::-1]):
                with contextlib.suppress(SSL.WantReadError):
                    end.do_handshake()
                    end.recv(1)
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(end.bio_read(1 << 20))
    except (SSL.Error, crypto.Error) as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(reason[-1]) for reason in reasons) or "TLS gives no reason"


def _key_bytes(key: PrivateKeyTypes, encoding: serialization.Encoding) -> bytes:
    form = serialization.PrivateFormat
    chosen = form.TraditionalOpenSSL if isinstance(key, rsa.RSAPrivateKey) else form.PKCS8
    return key.private_bytes(encoding, chosen, serialization.NoEncryption())


def _public_bytes(key: object) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, spki)  # type: ignore[attr-defined, no-any-return]


def _pair(certificates: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Pair:
    return Pair(_cert_body(certificates), _key_body(key))


def _key_body(key: PrivateKeyTypes) -> str:
    return base64.b64encode(_key_bytes(key, serialization.Encoding.DER)).decode()


def _cert_body(certificates: Sequence[x509.Certificate]) -> str:
    encoded = (base64.b64encode(one.public_bytes(serialization.Encoding.DER)) for one in certificates)
    return b" ".join(encoded).decode()
