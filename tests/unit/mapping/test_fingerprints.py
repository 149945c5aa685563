"""Fingerprints counts like collections.Counter, and values stay as they were put."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mu.mapping.fingerprints import Fingerprints, Marks, fingerprint


@given(st.lists(st.integers(1, 40).map(lambda n: n * 1024 + (n & 3)), max_size=300))
def test_like_a_counter(keys: list[int]) -> None:
    """Keys that collide in the table are added in any order."""
    real, model = Fingerprints(), Counter[int]()
    for key in keys:
        assert real.add(key) == model[key]
        model[key] += 1
    assert all(real.count(key) == model[key] for key in model)


def test_many_grow_and_stay() -> None:
    many = Fingerprints(range(1, 20001))
    assert len(many) == 20000
    assert all(many.count(key) == 1 for key in range(1, 20001))
    assert not many.count(20001)


def test_many_marks_grow_and_stay() -> None:
    marks = Marks()
    for key in range(1, 20001):
        marks.put(key, 1 + key % 255)
    assert all(marks.count(key) == 1 + key % 255 for key in range(1, 20001))
    assert not marks.count(20001)


def test_what_differs_has_another_fingerprint() -> None:
    prints = {
        fingerprint("ab", "c"),
        fingerprint("a", "bc"),
        fingerprint("abc"),
        fingerprint("a", "b", "c"),
        fingerprint("ab\0c"),
        fingerprint("\udcff"),
        fingerprint("é"),
        fingerprint("e\u0301"),
    }
    assert len(prints) == 8
    assert all(0 < one < 1 << 64 for one in prints)
