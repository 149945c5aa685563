"""Which of the workers' reasons are final."""

import pytest

from mu.wire.protocol import fail
from mu.wire.reasons import FINAL, LONGEST, is_final
from mu.work.transfer import REASONS

# What may be otherwise at the next attempt, on another worker or a little later.
PASSING = {
    "slow down, S3 has too many requests",
    "the credentials have expired",
    "the bucket is in another region",
    "what the store has received is not what was sent",
}


def test_each_reason_of_the_stores_is_either_final_or_known_to_pass() -> None:
    assert {text for text in REASONS.values() if not is_final(f"b/k: {text}")} == PASSING
    assert max(map(len, FINAL)) < LONGEST


@pytest.mark.parametrize(
    ("reason", "final"),
    [
        ("retrieving b:k->f from s3: no such key", True),
        ("no such command 'frobnicate:'", True),
        ("it has 70000000 bytes, and a message holds 67108854: upload it instead", True),
        ("the time of no such key is over", False),
        ("uploading f->b:k to s3: no such file or directory", False),
        ("", False),
    ],
)
def test_a_reason_counts_with_and_without_the_answer_around_it(reason: str, final: bool) -> None:
    assert is_final(reason) == final
    assert is_final(fail(reason)) == final
