"""Keys: generated ones connect, and only in their roles; bad key files are refused before they reach a worker."""

import base64
import contextlib
import datetime as dt
import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mu.cli import main
from mu.errors import UsageError
from mu.tls import connection, keys
from mu.wire.connect import dial, tls_context
from mu.wire.pem import key_to_pem
from tests.support.worker_rig import Listener

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
DAY = dt.timedelta(days=1)
NAMES = [f"{name}_{part}.pem" for name in ("ca", "server", "server2", "worker") for part in ("key", "cert")]


@dataclass
class Made:
    cert: x509.Certificate
    key: object

    @property
    def pem(self):
        return self.cert.public_bytes(PEM)

    def key_pem(self, form=PKCS8, encryption=PLAIN):
        return self.key.private_bytes(PEM, form, encryption)


def make(name, issuer=None, *, key=None, eku=None, start=-DAY, end=DAY, ca=None, plain=False):
    """Returns a certificate as other programs may make it; with `plain`, without extensions, as X.509 v1."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
    )
    if not plain:
        builder = builder.add_extension(
            x509.BasicConstraints(issuer is None if ca is None else ca, None), True
        )
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), False)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signer, digest), key)


CA = make("test CA")
OTHER_CA = make("other CA")
BOTH = make("both", CA)
SERVER_ONLY = make("server", CA, eku=[SERVER])
WORKER_ONLY = make("worker", CA, eku=[CLIENT])


@pytest.fixture
def load(tmp_path):
    """Writes the given contents to files named after the arguments, and loads these."""

    def write_and_load(ca=CA.pem, cert=BOTH.pem, key=None, worker_cert=None, worker_key=None):
        paths = {}
        contents = {"ca": ca, "cert": cert, "key": BOTH.key_pem() if key is None else key}
        contents |= {"worker_cert": worker_cert, "worker_key": worker_key}
        for name, content in contents.items():
            paths[name] = None if content is None else tmp_path / f"{name}.pem"
            if isinstance(content, bytes):
                paths[name].write_bytes(content)
        return keys.load_job_keys(
            paths["ca"], paths["cert"], paths["key"], paths["worker_cert"], paths["worker_key"]
        )

    return write_and_load


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def pem(bodies, label="CERTIFICATE"):
    lines = [f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n" for body in bodies.split(" ")]
    return "".join(lines)


def context(directory, ca, pair, protocol, flags):
    """Returns a TLS context of the standard library, as workers use it."""
    file = directory / "pair.pem"
    file.write_text(pem(pair.cert) + key_to_pem(pair.key))
    made = ssl.SSLContext(protocol)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= flags
    made.load_verify_locations(cadata=pem(ca))
    made.load_cert_chain(file)
    return made


def connects(directory, ca, server, client, version=None, flags=0):
    """Does a handshake between two ends of the standard library's TLS; raises SSLError if one refuses the other."""
    bios = [ssl.MemoryBIO() for _ in range(4)]
    client_context = context(directory, ca, client, ssl.PROTOCOL_TLS_CLIENT, flags)
    server_context = context(directory, ca, server, ssl.PROTOCOL_TLS_SERVER, flags)
    if version:
        client_context.minimum_version = client_context.maximum_version = version
    ends = [
        client_context.wrap_bio(bios[0], bios[1]),
        server_context.wrap_bio(bios[2], bios[3], server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                end.read(1)
            bios[2].write(bios[1].read())
            bios[0].write(bios[3].read())
    return ends[0].version() == ends[1].version() and all(end.getpeercert() for end in ends)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_keys_of_a_run_connect(tmp_path, version):
    made = keys.make_job_keys()
    assert not made.worker_is_server
    assert connects(tmp_path, made.ca, made.server, made.worker, version, ssl.VERIFY_X509_STRICT)


def test_neither_end_can_take_the_others_place(tmp_path):
    made = keys.make_job_keys()
    with pytest.raises(ssl.SSLError, match="purpose"):
        connects(tmp_path, made.ca, made.worker, made.worker)
    with pytest.raises(ssl.SSLError, match="purpose"):
        connects(tmp_path, made.ca, made.server, made.server)


def of_the_original(body, kind="RSA PRIVATE KEY"):
    """Reads a key from a one-line body as the original does, which labels every key RSA PRIVATE KEY."""
    return serialization.load_pem_private_key(pem(body, kind).encode(), None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_rsa_keys_of_a_run_connect_and_are_read_by_the_original(tmp_path, version):
    made = keys.make_job_keys("rsa")
    assert connects(tmp_path, made.ca, made.server, made.worker, version, ssl.VERIFY_X509_STRICT)
    for pair in (made.server, made.worker):
        assert of_the_original(pair.key).key_size == 2048
    with pytest.raises(ValueError, match="deserialize"):
        of_the_original(keys.make_job_keys().worker.key)


def test_rsa_key_files_travel_as_the_original_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["genkeys", "--rsa"]) == 0
    assert Path("worker_key.pem").read_text().startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    loaded = keys.load_job_keys(
        "ca_cert.pem", "server_cert.pem", "server_key.pem", "worker_cert.pem", "worker_key.pem"
    )
    assert of_the_original(loaded.worker.key).key_size == 2048
    assert of_the_original(loaded.server.key).key_size == 2048
    assert connects(tmp_path, loaded.ca, loaded.server, loaded.worker)


@pytest.mark.parametrize(("value", "rsa_keys"), [("1", True), ("", False), ("0", False)])
def test_the_environment_asks_for_rsa_keys(tmp_path, monkeypatch, value, rsa_keys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSA", value)
    assert main.main(["genkeys"]) == 0
    assert ("RSA" in Path("server_key.pem").read_text()) == rsa_keys


class Signer:
    """The CA that `mu genkeys` has made, with which a user can sign certificates."""

    def __init__(self, directory):
        keys.write_job_key_files(directory)
        self.key = serialization.load_pem_private_key((directory / "ca_key.pem").read_bytes(), None)
        self.cert = x509.load_pem_x509_certificate((directory / "ca_cert.pem").read_bytes())
        self.job = keys.load_job_keys(
            *(directory / f"{name}.pem" for name in ("ca_cert", "server_cert", "server_key")),
            *(directory / f"worker_{part}.pem" for part in ("cert", "key")),
        )

    def pair(self, usage=None):
        made = make("anything", self, eku=usage)
        return keys.Pair(
            base64.b64encode(made.cert.public_bytes(serialization.Encoding.DER)).decode(),
            base64.b64encode(made.key.private_bytes(serialization.Encoding.DER, PKCS8, PLAIN)).decode(),
        )


@pytest.mark.parametrize(("usage", "taken"), [(None, False), ([CLIENT], True)])
def test_a_coordinator_with_our_keys_refuses_workers_certificates_for_nothing_in_particular(
    tmp_path, usage, taken
):
    signer = Signer(tmp_path)
    worker = signer.pair(usage)
    server = connection.context(signer.job.ca, signer.job.server.cert, signer.job.server.key, server=True)
    client = connection.context(signer.job.ca, worker.cert, worker.key, server=False)
    assert (keys.try_handshake(server, client) == "") == taken
    with contextlib.nullcontext() if taken else pytest.raises(UsageError, match="verify failed"):
        keys.load_job_keys(
            *(tmp_path / f"{name}.pem" for name in ("ca_cert", "server_cert", "server_key")),
            *written(tmp_path, worker),
        )


def written(directory, pair):
    (directory / "own_cert.pem").write_text(pem(pair.cert))
    (directory / "own_key.pem").write_text(key_to_pem(pair.key))
    return directory / "own_cert.pem", directory / "own_key.pem"


@pytest.mark.parametrize(("usage", "taken"), [(None, False), ([SERVER], True)])
def test_a_worker_with_our_keys_refuses_servers_certificates_for_nothing_in_particular(
    tmp_path, usage, taken
):
    signer = Signer(tmp_path)
    job = keys.JobKeys(signer.job.ca, signer.pair(usage), signer.job.worker)
    context = tls_context(job.ca, job.worker.cert, job.worker.key, str(tmp_path))
    with Listener(job) as listener:
        thread = threading.Thread(target=take, args=(listener,))
        thread.start()
        if taken:
            dial("127.0.0.1", listener.port, context, 30).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="does not say that it is for servers"):
                dial("127.0.0.1", listener.port, context, 30)
        thread.join()


def take(listener):
    with contextlib.suppress(OSError):
        listener.accept().sock.close()


def test_certificates_of_ones_own_may_say_nothing(tmp_path, load):
    loaded = load()
    assert loaded.worker_is_server
    context = tls_context(loaded.ca, loaded.worker.cert, loaded.worker.key, str(tmp_path))
    with Listener(loaded) as listener:
        thread = threading.Thread(target=take, args=(listener,))
        thread.start()
        dial("127.0.0.1", listener.port, context, 30).close()
        thread.join()


def test_two_runs_do_not_trust_each_other(tmp_path):
    one, two = keys.make_job_keys(), keys.make_job_keys()
    with pytest.raises(ssl.SSLError, match="verify failed"):
        connects(tmp_path, one.ca, one.server, two.worker)


def test_the_keys_of_a_run_are_valid_for_longer_than_any_run():
    made, now = keys.make_job_keys(), dt.datetime.now(dt.UTC)
    for body in (made.ca, made.server.cert, made.worker.cert):
        cert = x509.load_der_x509_certificate(base64.b64decode(body))
        assert cert.not_valid_before_utc < now - DAY / 2
        assert cert.not_valid_after_utc > now + 300 * DAY


def test_bodies_are_one_line():
    made = keys.make_job_keys()
    for body in (made.ca, made.server.cert, made.server.key, made.worker.cert, made.worker.key):
        assert base64.b64decode(body, validate=True)


def test_private_keys_are_not_shown():
    made = keys.make_job_keys()
    for text in (repr(made), str(made), f"{made.server}", repr({"keys": made})):
        assert made.server.key not in text
        assert made.worker.key not in text


def test_workers_pair(load):
    loaded = load(cert=SERVER_ONLY.pem, key=SERVER_ONLY.key_pem(), worker_cert=WORKER_ONLY.pem,
                  worker_key=WORKER_ONLY.key_pem())  # fmt: skip
    assert not loaded.worker_is_server
    assert not loaded.worker_may_serve
    assert loaded.server != loaded.worker


def test_a_workers_pair_that_is_good_for_servers_is_told(load):
    loaded = load(
        cert=SERVER_ONLY.pem, key=SERVER_ONLY.key_pem(), worker_cert=BOTH.pem, worker_key=BOTH.key_pem()
    )
    assert (loaded.worker_is_server, loaded.worker_may_serve) == (False, True)


def test_without_a_workers_pair_the_servers_is_used(load, tmp_path):
    loaded = load()
    assert loaded.worker_is_server
    assert loaded.worker == loaded.server
    assert connects(tmp_path, loaded.ca, loaded.server, loaded.worker)


RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize(
    ("key", "form", "before"),
    [
        (RSA_KEY, PKCS8, b""),
        (RSA_KEY, TRADITIONAL, b"Bag Attributes\n    friendlyName: x\n"),
        (ec.generate_private_key(ec.SECP256R1()), TRADITIONAL, EC_PARAMETERS),
        (ec.generate_private_key(ec.SECP384R1()), TRADITIONAL, BOTH.pem),
        (ed25519.Ed25519PrivateKey.generate(), PKCS8, b""),
    ],
    ids=["rsa", "rsa-traditional", "ec-with-parameters", "after-a-certificate", "ed25519"],
)
def test_any_form_of_key_becomes_one(load, tmp_path, key, form, before):
    """Keys become PKCS#8, except RSA keys, which the original's programs can read only as PKCS#1."""
    made = make("server", CA, key=key)
    loaded = load(cert=made.pem, key=before + made.key_pem(form))
    label = "RSA PRIVATE KEY" if key is RSA_KEY else "PRIVATE KEY"
    again = serialization.load_pem_private_key(pem(loaded.server.key, label).encode(), None)
    assert again.public_key() == key.public_key()
    assert connects(tmp_path, loaded.ca, loaded.server, loaded.worker)


def test_intermediate_certificates_travel_along(load, tmp_path):
    middle = make("middle", CA, ca=True)
    leaf = make("leaf", middle)
    loaded = load(cert=leaf.pem + middle.pem, key=leaf.key_pem())
    bodies = [base64.b64encode(made.cert.public_bytes(serialization.Encoding.DER)) for made in (leaf, middle)]
    assert loaded.server.cert == b" ".join(bodies).decode()
    assert connects(tmp_path, loaded.ca, loaded.server, loaded.worker)


def test_a_bundle_of_cas_may_hold_old_ones(load):
    expired = make("old CA", start=-2 * DAY, end=-DAY)
    assert load(ca=expired.pem + CA.pem).ca.count(" ") == 1


ENCRYPTED = serialization.BestAvailableEncryption(b"secret")
SMALL = make("small", CA, key=rsa.generate_private_key(65537, 1024))
EXPIRED = make("expired", CA, start=-3 * DAY, end=-2 * DAY)
FUTURE = make("future", CA, start=2 * DAY, end=3 * DAY)
OLD_CA = make("old CA", start=-3 * DAY, end=-2 * DAY)
OTHER_LEAF = make("leaf of another CA", OTHER_CA)
NOT_A_CA = make("not a CA", CA)
BY_NOT_A_CA = make("leaf", NOT_A_CA)
MISSING = "written nowhere"


@pytest.mark.parametrize(
    ("files", "file", "what"),
    [
        ({"ca": MISSING}, "ca.pem", "no such file"),
        ({"cert": MISSING}, "cert.pem", "no such file"),
        ({"key": MISSING}, "key.pem", "no such file"),
        ({"worker_cert": MISSING, "worker_key": WORKER_ONLY.key_pem()}, "worker_cert.pem", "no such file"),
        ({"ca": b""}, "ca.pem", "no PEM certificate"),
        ({"ca": BOTH.key_pem()}, "ca.pem", "no PEM certificate"),
        ({"cert": b"\x00\xff\xfe"}, "cert.pem", "no PEM certificate"),
        ({"cert": BOTH.pem[:200] + b"\n-----END CERTIFICATE-----\n"}, "cert.pem", "damaged certificate"),
        ({"cert": BOTH.pem[:200]}, "cert.pem", "damaged certificate"),
        ({"key": BOTH.pem}, "key.pem", "no PEM private key"),
        ({"key": BOTH.key_pem()[:80]}, "key.pem", "no PEM private key"),
        ({"key": BOTH.key_pem().replace(b"M", b"N", 1)}, "key.pem", "damaged"),
        ({"key": BOTH.key_pem(encryption=ENCRYPTED)}, "key.pem", "encrypted"),
        ({"key": BOTH.key_pem(TRADITIONAL, ENCRYPTED)}, "key.pem", "encrypted"),
        ({"key": WORKER_ONLY.key_pem()}, "key.pem", "not the key of the certificate"),
        ({"cert": EXPIRED.pem, "key": EXPIRED.key_pem()}, "cert.pem", "expired on"),
        ({"cert": FUTURE.pem, "key": FUTURE.key_pem()}, "cert.pem", "not valid before"),
        ({"ca": OLD_CA.pem}, "ca.pem", "expired on"),
        ({"cert": OTHER_LEAF.pem, "key": OTHER_LEAF.key_pem()}, "cert.pem", "does not chain to the CA"),
        ({"ca": OTHER_CA.pem}, "ca.pem", "does not chain to the CA"),
        ({"cert": BY_NOT_A_CA.pem + NOT_A_CA.pem, "key": BY_NOT_A_CA.key_pem()}, "cert.pem", "not chain"),
        ({"worker_cert": OTHER_LEAF.pem, "worker_key": OTHER_LEAF.key_pem()}, "worker_cert.pem", "not chain"),
        ({"worker_cert": WORKER_ONLY.pem, "worker_key": BOTH.key_pem()}, "worker_key.pem", "not the key"),
        ({"cert": WORKER_ONLY.pem, "key": WORKER_ONLY.key_pem()}, "cert.pem", "lacks serverAuth"),
        ({"cert": SERVER_ONLY.pem, "key": SERVER_ONLY.key_pem()}, "cert.pem", "--worker-cert"),
        ({"worker_cert": SERVER_ONLY.pem, "worker_key": SERVER_ONLY.key_pem()},
         "worker_cert.pem", "lacks client"),
        ({"cert": SMALL.pem, "key": SMALL.key_pem()}, "cert.pem", "too small"),
    ],
)  # fmt: skip
def test_unusable_files_are_refused_in_one_line(load, files, file, what):
    with pytest.raises(UsageError) as caught:
        load(**files)
    text = str(caught.value)
    assert file in text
    assert what in text
    assert "\n" not in text
    assert caught.value.__cause__ is None
    for made in (BOTH, WORKER_ONLY, SERVER_ONLY):
        assert made.key_pem().splitlines()[1].decode()[:20] not in text


@pytest.mark.parametrize("given", ["worker_cert", "worker_key"])
def test_half_a_workers_pair_is_refused(load, given):
    with pytest.raises(UsageError, match="both or neither"):
        load(**{given: WORKER_ONLY.pem})


def test_certificates_without_extensions_are_accepted(load):
    plain = make("plain", CA, plain=True)
    assert load(cert=plain.pem, key=plain.key_pem()).worker_is_server


def test_a_directory_is_no_key_file(tmp_path):
    with pytest.raises(UsageError, match="is a directory"):
        keys.load_job_keys(tmp_path, tmp_path, tmp_path)


def test_files(tmp_path):
    old = os.umask(0)
    try:
        written = keys.write_job_key_files(tmp_path)
    finally:
        os.umask(old)
    assert [path.name for path in written] == NAMES
    assert names(tmp_path) == sorted(NAMES)
    for path in written:
        assert path.stat().st_mode & 0o777 == (0o600 if "_key" in path.name else 0o644)
    paths = {path.stem: path for path in written}
    for server in ("server", "server2"):
        with_worker = keys.load_job_keys(
            paths["ca_cert"], paths[f"{server}_cert"], paths[f"{server}_key"], paths["worker_cert"],
            paths["worker_key"],
        )  # fmt: skip
        assert connects(tmp_path, with_worker.ca, with_worker.server, with_worker.worker)
        without = keys.load_job_keys(paths["ca_cert"], paths[f"{server}_cert"], paths[f"{server}_key"])
        assert connects(tmp_path, without.ca, without.server, without.worker)
    with pytest.raises(UsageError, match="lacks serverAuth"):
        keys.load_job_keys(paths["ca_cert"], paths["worker_cert"], paths["worker_key"])
    ca_key = serialization.load_pem_private_key(paths["ca_key"].read_bytes(), None)
    ca_cert = x509.load_pem_x509_certificate(paths["ca_cert"].read_bytes())
    assert ca_key.public_key() == ca_cert.public_key()


@pytest.mark.parametrize("name", NAMES)
def test_files_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=name):
        keys.write_job_key_files(tmp_path)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_dangling_link_is_not_followed(tmp_path):
    (tmp_path / "worker_key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"worker_key\.pem exists"):
        keys.write_job_key_files(tmp_path)
    assert names(tmp_path) == ["worker_key.pem"]


def test_a_failure_midway_leaves_nothing(tmp_path, monkeypatch):
    real_open = os.open

    def full_disk(path, *args):
        if Path(path).name == "worker_key.pem":
            raise OSError(28, "No space left on device", str(path))
        return real_open(path, *args)

    monkeypatch.setattr(os, "open", full_disk)
    with pytest.raises(UsageError, match=r"worker_key\.pem: no space left on device"):
        keys.write_job_key_files(tmp_path)
    assert names(tmp_path) == []


def test_a_missing_directory(tmp_path):
    with pytest.raises(UsageError, match="no such file or directory"):
        keys.write_job_key_files(tmp_path / "absent")


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["genkeys"]) == 0
    assert capsys.readouterr().out.split() == NAMES
    assert main.main(["genkeys"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "mu genkeys: ca_key.pem exists and is not overwritten: work in another directory\n"
