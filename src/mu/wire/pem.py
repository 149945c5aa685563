"""Makes PEM text from the form in which certificates and keys are sent.

That form is the base64 body of a PEM block on one line; a chain is several bodies separated by spaces. A body does
not tell its type, so the label of a private key is derived from its DER:

    PKCS#8      SEQUENCE { INTEGER 0, SEQUENCE { OID, ... }, OCTET STRING }
    PKCS#1 RSA  SEQUENCE { INTEGER 0, INTEGER modulus, ... }
    SEC1 EC     SEQUENCE { INTEGER 1, OCTET STRING, ... }
"""

from __future__ import annotations

import binascii

from mu.errors import UsageError

SEQUENCE, INTEGER, OCTETS = 0x30, 0x02, 0x04

# Version number and the tag of what follows it -> label.
KEY_LABELS = {
    (0, SEQUENCE): "PRIVATE KEY",
    (1, SEQUENCE): "PRIVATE KEY",  # PKCS#8 with the public key added (RFC 5958)
    (0, INTEGER): "RSA PRIVATE KEY",
    (1, OCTETS): "EC PRIVATE KEY",
}


def certificates_to_pem(line: str) -> str:
    """Returns the PEM text of one or several certificates. Raises UsageError if `line` is not base64."""
    blocks = [_block("CERTIFICATE", _decode(body, "certificate")) for body in line.split()]
    if not blocks:
        raise UsageError("a certificate is empty")
    return "".join(blocks)


def first_der(line: str) -> bytes:
    """Returns the bytes of the first of one or several certificates; none if `line` is empty."""
    return _decode(line.split()[0], "certificate") if line.strip() else b""


def to_pem(line: str, label: str) -> str:
    """Returns the PEM text of one or several bodies, each with this label. Raises UsageError if `line` is not
    base64."""
    return "".join(_block(label, _decode(body, label.lower())) for body in line.split())


def key_to_pem(line: str) -> str:
    """Returns the PEM text of an unencrypted private key. Raises UsageError if its form is not known."""
    der = _decode("".join(line.split()), "private key")
    label = _key_label(der)
    if label is None:
        raise UsageError("a private key is encrypted, damaged or of an unknown form")
    return _block(label, der)


def _decode(body: str, what: str) -> bytes:
    try:
        der = binascii.a2b_base64(body.encode("ascii"))
        # If it differs, characters were skipped.
        if binascii.b2a_base64(der, newline=False).decode("ascii") == body:
            return der
    except ValueError:  # binascii.Error and UnicodeEncodeError, whose texts would show the key
        pass
    raise UsageError(f"a {what} is not base64") from None


def _block(label: str, der: bytes) -> str:
    body = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def _key_label(der: bytes) -> str | None:
    if len(der) < 2 or der[0] != SEQUENCE:
        return None
    # The length is one byte, or 0x80 plus the number of following bytes that hold it.
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    head = der[start : start + 4]
    if len(head) < 4 or head[:2] != bytes((INTEGER, 1)):
        return None
    return KEY_LABELS.get((head[2], head[3]))
