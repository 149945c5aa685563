"""PEM text made from one-line bodies: OpenSSL reads the original object from it."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mu.errors import UsageError
from mu.tls import keys
from mu.wire import pem

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    ("key", "form", "label"),
    [
        (RSA, PrivateFormat.PKCS8, "PRIVATE KEY"),
        (EC, PrivateFormat.PKCS8, "PRIVATE KEY"),
        (RSA, PrivateFormat.TraditionalOpenSSL, "RSA PRIVATE KEY"),
        (EC, PrivateFormat.TraditionalOpenSSL, "EC PRIVATE KEY"),
    ],
)
def test_key_gets_the_label_of_its_form(key: rsa.RSAPrivateKey, form: PrivateFormat, label: str) -> None:
    original = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    body = "".join(original.splitlines()[1:-1])
    text = pem.key_to_pem(body)
    assert text == original
    assert text.startswith(f"-----BEGIN {label}-----\n")
    assert load_pem_private_key(text.encode(), None).private_numbers() == key.private_numbers()  # type: ignore[union-attr]


def test_chain_becomes_as_many_blocks() -> None:
    made = keys.make_job_keys()
    text = pem.certificates_to_pem(f"{made.worker.cert} {made.ca}")
    ders = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(text.encode())]
    assert ders == [base64.b64decode(made.worker.cert), base64.b64decode(made.ca)]


ENCRYPTED = RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "MA==",
        "%%%",
        "é",
        "QUJD",
        "-----BEGIN PRIVATE KEY-----",
        base64.b64encode(ENCRYPTED).decode(),
        base64.b64encode(b"\x30\x03\x02\x01\x07").decode(),
    ],
)
def test_bad_key_is_refused_without_being_shown(body: str) -> None:
    with pytest.raises(UsageError) as caught:
        pem.key_to_pem(body)
    assert not body or body not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["", "   ", "MIIB!", "é"])
def test_bad_certificate_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="a certificate is (empty|not base64)"):
        pem.certificates_to_pem(line)
