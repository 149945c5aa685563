"""The checksums that S3 knows, as hashes with hashlib's interface."""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol


class Hash(Protocol):
    """The common interface of hashlib's hashes and ours."""

    def update(self, data: bytes, /) -> None:
        """Adds bytes."""

    def digest(self) -> bytes:
        """Returns the hash of all bytes so far."""


class Crc32:
    """CRC-32 as in zlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """Adds bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Returns four bytes, big-endian."""
        return self._value.to_bytes(4, "big")


class ReflectedCrc:
    """A CRC of any reflected polynomial, with all bits set at the start and inverted at the end: about 8 MB/s."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._mask = self._value = (1 << bits) - 1
        self._bytes = bits // 8
        self._table = []
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
            self._table.append(byte)

    def update(self, data: bytes, /) -> None:
        """Adds bytes."""
        value, table = self._value, self._table
        for byte in data:
            value = value >> 8 ^ table[(value ^ byte) & 255]
        self._value = value

    def digest(self) -> bytes:
        """Returns the bytes, big-endian."""
        return (self._value ^ self._mask).to_bytes(self._bytes, "big")


ALGORITHMS: Mapping[str, Callable[[], Hash]] = {
    "CRC32": Crc32,
    "CRC32C": lambda: ReflectedCrc(0x82F63B78, 32),
    "CRC64NVME": lambda: ReflectedCrc(0x9A6C9329AC4BC9B5, 64),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
