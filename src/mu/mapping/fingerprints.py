"""A compact multiset of fingerprints, for millions of inputs: 14 to 48 bytes each.

A fingerprint is 64 bits of a BLAKE2 hash. The probability that any two of a million texts have the same one is 3e-8;
then one text would be mistaken for the other.
"""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

_SMALLEST = 1 << 10
_FILL = 0.66  # share of the table that is used before it grows


def fingerprint(*texts: str) -> int:
    """Returns 64 bits, never 0, that identify these texts in this order. Texts may hold bytes that are not UTF-8."""
    data = "\0".join((str(len(texts)), *(f"{len(text)}:{text}" for text in texts)))
    found = int.from_bytes(blake2b(data.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return found or 1


class Fingerprints:
    """Counts fingerprints, in an open hash table of two arrays."""

    _VALUES = "I"

    def __init__(self, given: Iterable[int] = ()) -> None:
        self._used = 0
        self._keys = array("Q", bytes(8 * _SMALLEST))
        self._counts = array(self._VALUES, [0]) * _SMALLEST
        for one in given:
            self.add(one)

    def __len__(self) -> int:
        return self._used

    def count(self, one: int) -> int:
        """Returns how often a fingerprint was added."""
        return self._counts[self._find(one)]

    def add(self, one: int) -> int:
        """Adds a fingerprint; returns how often it was there before."""
        before = self.count(one)
        self._put(one, before + 1)
        return before

    def _put(self, one: int, value: int) -> None:
        place = self._find(one)
        self._counts[place] = value
        if not self._keys[place]:
            self._keys[place] = one
            self._used += 1
            if self._used > _FILL * len(self._keys):
                self._grow()

    def _find(self, one: int) -> int:
        """Returns the index of a fingerprint, or of the free slot where it would be stored."""
        keys, mask = self._keys, len(self._keys) - 1
        place = one & mask
        while keys[place] and keys[place] != one:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        keys, counts = self._keys, self._counts
        self._keys = array("Q", bytes(8 * 2 * len(keys)))
        self._counts = array(self._VALUES, [0]) * (2 * len(keys))
        for index, one in enumerate(keys):
            if one:
                place = self._find(one)
                self._keys[place] = one
                self._counts[place] = counts[index]


class Values(Fingerprints):
    """Maps fingerprints to whole numbers of 64 bits. `count` returns the value; 0 means that there is none."""

    _VALUES = "Q"

    def put(self, one: int, value: int) -> None:
        """Sets the value of a fingerprint, in place of an earlier one."""
        self._put(one, value)


class Marks(Values):
    """Values of 8 bits."""

    _VALUES = "B"
