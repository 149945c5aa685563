"""Which part goes to which connection, and what happens to parts whose workers fail or are slow."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.machine import listed
from mu.server.ledger import EXCUSED, TEXT_KEPT, Attempt, Ledger, Part, connection_order


@pytest.mark.parametrize(
    ("number", "distance", "listed", "order"),
    [
        (3, None, None, [0, 1, 2]),
        (1, None, None, [0]),
        (5, 4, None, [0, 4, 1, 2, 3]),
        (6, 2, None, [0, 2, 4, 1, 3, 5]),
        (7, 3, None, [0, 3, 6, 1, 4, 2, 5]),
        (3, 1, None, [0, 1, 2]),
        (3, 8, None, [0, 1, 2]),
        (3, None, [9, 4, 7], [0, 1, 2]),
        (3, 1, [9, 4, 7], [1, 2, 0]),
        (5, 4, [8, 9, 10, 11, 20], [0, 4, 1, 2, 3]),
        (5, 2, [0, 2, 3, 4, 5], [0, 1, 3, 2, 4]),
        (6, 4, [4, 5, 0, 1, 2, 3], [2, 0, 3, 1, 4, 5]),
    ],
)
def test_connection_order(
    number: int, distance: int | None, listed: list[int] | None, order: list[int]
) -> None:
    assert [part.number for part in connection_order(number, distance, listed)] == order


def test_what_people_call_the_parts_of_a_list() -> None:
    order = [part.number for part in connection_order(5, 4, [8, 9, 10, 11, 20])]
    assert [listed(number) for number in order] == [8, 20, 9, 10, 11]
    assert [listed(part.number) for part in connection_order(2)] == [0, 1]
    assert f"{order[1]:02d} {order[1]} {order[1] + 1}" == "04 4 5"


def test_groups() -> None:
    assert [part.group for part in connection_order(5, 4)] == [0, 1, 0, 0, 0]
    assert [part.group for part in connection_order(5, 2, [0, 2, 3, 4, 5])] == [0, 1, 2, 1, 2]
    assert {part.group for part in connection_order(5)} == {0}


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.integers(1, 6))
def test_a_left_neighbour_in_the_list_comes_first(numbers: list[int], distance: int) -> None:
    order = [listed(part.number) for part in connection_order(len(numbers), distance, numbers)]
    assert sorted(order) == sorted(numbers)
    for place, number in enumerate(order):
        if number % distance:
            assert number - 1 not in order[place:]


# The ledger


def ledger(parts: int = 2, **settings: Any) -> Ledger:
    return Ledger(connection_order(parts), **settings)


def begun(book: Ledger, now: float = 0.0) -> Attempt:
    attempt = book.begin(now)
    assert attempt is not None
    return attempt


def test_parts_are_given_once() -> None:
    book = ledger()
    first, second = begun(book), begun(book)
    assert (first.part.number, second.part.number, book.begin(0.0)) == (0, 1, None)
    assert (book.wanted, book.running, book.may_want_more) == (0, 2, False)
    assert not book.succeeded(first, 1.0)
    assert not book.finished
    assert book.failure(second, "x")
    assert (book.finished, book.done, book.failed) == (True, 1, 1)


@pytest.mark.parametrize(
    ("retries", "error", "attempts"),
    [
        (0, "the worker closed the connection", 1),
        (1, "the worker closed the connection", 2),
        (3, "OK:RETVAL(1):OUTPUT():COMMAND(x)", 4),
        (3, "FAIL(retrieving b:k->f from s3: no such key)", 1),
        (3, "FAIL(retrieving b:k->f from s3: no such bucket)", 1),
        (3, "FAIL(uploading f->b:k to s3: access denied)", 1),
        (3, "FAIL(retrieving b:k->f from s3: the object is archived and must be restored first)", 1),
    ],
)
def test_how_often_a_part_is_tried(retries: int, error: str, attempts: int) -> None:
    book = ledger(1, retries=retries)
    for number in range(1, attempts + 1):
        assert not book.finished
        attempt = begun(book)
        assert attempt.number == number
        assert book.failure(attempt, error) == (number == attempts)
    assert (book.finished, book.failed, book.wanted) == (True, 1, 0)


def test_parts_that_are_not_at_hand_yet() -> None:
    """None does not mean the end: the ledger asks the source of parts again."""
    source: list[Part | None] = [Part(0, 0, "a"), None, None, Part(1, 1, "b"), None]
    made = Ledger(iter(source))
    first = made.begin(0.0)
    assert first is not None
    assert made.begin(0.0) is None
    assert not made.parts_known
    made.succeeded(first, 1.0)
    assert not made.finished
    assert made.may_want_more
    assert made.wanted
    second = made.begin(1.0)
    assert second is not None
    assert second.part.input == "b"
    assert made.waiting(5) == 0
    made.succeeded(second, 2.0)
    assert made.finished
    assert made.parts_known
    assert (made.parts, made.done) == (2, 2)


def test_a_part_that_failed_comes_before_those_that_wait() -> None:
    book = ledger(3, retries=1)
    first = begun(book)
    begun(book)
    assert not book.failure(first, "x")
    assert begun(book).part.number == 0
    assert begun(book).part.number == 2


def test_parts_that_failed_together_are_tried_again_in_their_order() -> None:
    book = ledger(3, retries=1)
    for attempt in [begun(book) for _ in range(3)]:
        assert not book.failure(attempt, "x")
    assert [begun(book).part.number for _ in range(3)] == [0, 1, 2]


def test_parts_that_are_given_back_come_in_their_order() -> None:
    book = ledger(4, retries=1)
    first, second, third = (begun(book) for _ in range(3))
    book.give_back(first)
    book.give_back(second)
    assert not book.failure(third, "x")
    assert [begun(book).part.number for _ in range(4)] == [0, 1, 2, 3]


@given(
    st.lists(st.integers(0, 12), unique=True, min_size=1),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["done", "fails", "all fail"]), st.integers(1, 4)), max_size=30),
)
def test_workers_never_all_wait_for_parts_that_have_none(
    numbers: list[int], distance: int, workers: int, happenings: list[tuple[str, int]]
) -> None:
    """Each part waits for its left neighbour. However few workers there are, one of them can go on."""
    book = Ledger(connection_order(len(numbers), distance, numbers), retries=len(happenings))
    held: list[Attempt] = []
    done: set[int] = set()

    def ready(attempt: Attempt) -> bool:
        number = listed(attempt.part.number)
        return number % distance == 0 or number - 1 in done or number - 1 not in numbers

    for happening, number in [*happenings, *[("done", 1)] * len(numbers)]:
        while len(held) < workers and (attempt := book.begin(0.0)) is not None:
            held.append(attempt)
        if book.finished:
            break
        (attempt, *_) = filter(ready, held)
        if happening == "done":
            book.succeeded(attempt, 1.0)
            done.add(listed(attempt.part.number))
            held.remove(attempt)
            continue
        lost = held if happening == "all fail" else [attempt]
        for attempt in lost:
            assert not book.failure(attempt, "x")
        held = [attempt for attempt in held if attempt not in lost]
        if not held:
            workers = number  # so many come in their place
    assert book.finished
    assert len(done) == len(numbers)


def test_backups_begin_when_most_are_done() -> None:
    book = ledger(8, backup=2.0)
    attempts = [begun(book) for _ in range(8)]
    for number in range(5):
        book.succeeded(attempts[number], 10.0)
    assert book.want_backups(1000.0) == 0  # fewer than three quarters of the parts are done
    book.succeeded(attempts[5], 10.0)
    assert book.want_backups(20.0) == 0  # exactly twice the median, which is not enough
    assert book.want_backups(20.1) == 2
    assert book.want_backups(50.0) == 0  # each part gets one backup at most
    backup = begun(book, 21.0)
    assert (backup.part.number, backup.number) == (6, 2)
    assert book.leader(backup) is attempts[6]
    assert book.succeeded(backup, 25.0) == [attempts[6]]
    assert not book.succeeded(attempts[7], 26.0)
    assert (book.finished, book.wanted, book.done) == (True, 0, 8)


def test_a_parts_time_counts_from_its_beginning() -> None:
    book = ledger(4, backup=2.0)
    attempts = [begun(book, 100.0) for _ in range(3)]
    begun(book, 200.0)
    for attempt in attempts:
        book.succeeded(attempt, 110.0)
    assert book.durations.median() == 10.0
    assert book.want_backups(220.0) == 0
    assert book.want_backups(220.1) == 1


@pytest.mark.parametrize("which", ["first", "backup"])
def test_a_part_with_two_workers_fails_with_the_second_failure(which: str) -> None:
    book = ledger(4, backup=2.0)
    attempts = [begun(book) for _ in range(4)]
    for attempt in attempts[:3]:
        book.succeeded(attempt, 1.0)
    assert book.want_backups(10.0) == 1
    pair = [attempts[3], begun(book)]
    if which == "backup":
        pair.reverse()
    assert not book.failure(pair[0], "x")
    assert book.leads(pair[1])
    assert book.failure(pair[1], "x")
    assert book.finished


@given(
    st.integers(1, 6), st.integers(0, 3), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60)
)
def test_whatever_happens_each_part_ends_once(
    parts: int, retries: int, happenings: list[tuple[bool, int]]
) -> None:
    book = ledger(parts, retries=retries, backup=1.5)
    running: list[Attempt] = []
    ended: list[int] = []
    now = 0.0
    for well, place in [*happenings, *[(True, 0)] * (parts * (retries + 3))]:
        now += 1.0
        book.want_backups(now)
        while (attempt := book.begin(now)) is not None:
            running.append(attempt)
        if not running:
            break
        attempt = running.pop(place % len(running))
        if well:
            for loser in book.succeeded(attempt, now):
                running.remove(loser)
            ended.append(attempt.part.number)
        elif book.failure(attempt, "x"):
            ended.append(attempt.part.number)
    assert book.finished
    assert sorted(ended) == list(range(parts))
    assert (book.wanted, book.running) == (0, 0)


def test_parts_that_are_still_to_come() -> None:
    """None means that no part is available yet: the run is not finished, and the source is asked again."""
    ledger = Ledger(iter([Part(1, 0), None, None, Part(2, 0), None]))
    assert ledger.waiting(5) == 1
    assert ledger.pending
    first = ledger.begin(0.0)
    assert first is not None
    assert ledger.begin(0.0) is None
    ledger.succeeded(first, 1.0)
    assert ledger.may_want_more
    assert not ledger.finished
    second = ledger.begin(1.0)
    assert second is not None
    assert second.part.number == 2
    ledger.succeeded(second, 2.0)
    assert not ledger.finished  # the source returns its last None
    assert ledger.finished
    assert not ledger.pending
    assert ledger.counts()[:2] == (2, True)


class Two:
    """Two parts, with a pause before the second one."""

    def __iter__(self) -> Iterator[Part | None]:
        yield from (Part(1, 0), None, None, Part(2, 0))

    def __len__(self) -> int:
        return 2


def test_parts_of_a_known_number_may_still_be_to_come() -> None:
    ledger = Ledger(Two())
    assert ledger.waiting(5) == 2  # none was read
    first = begun(ledger)
    assert ledger.begin(0.0) is None
    assert ledger.pending
    assert not ledger.unattended  # which reads once more
    ledger.succeeded(first, 1.0)
    assert not ledger.finished
    assert ledger.waiting(5) == 1
    ledger.succeeded(begun(ledger), 2.0)
    assert ledger.finished


def test_who_knows_better_than_the_text_says_whether_an_error_is_final() -> None:
    error = "s3://b/k: no such key"
    book = ledger(1, retries=5)
    assert not book.failure(begun(book), error, seems_final=False)
    assert not book.failure(begun(book), "it is gone", seems_final=True, proven=False)
    assert not book.failure(begun(book), "it is lost", seems_final=True, proven=False)
    assert book.failure(begun(book), "it is lost", seems_final=True, proven=False)
    book = ledger(1, retries=5)
    assert book.failure(begun(book), error)


class OfKnownLength:
    """Parts of which some can be read, with the length that they would have."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Part]:
        yield from (Part(number, number) for number in range(2))
        raise OSError("the database went away")


@pytest.mark.parametrize(
    ("order", "counts"), [(iter(OfKnownLength()), (2, False)), (OfKnownLength(), (5, True))]
)
def test_parts_that_cannot_be_read_to_their_end_are_not_taken_for_all(
    order: Iterable[Part], counts: tuple[int, bool]
) -> None:
    ledger = Ledger(order)
    for _ in range(2):
        attempt = ledger.begin(0.0)
        assert attempt is not None
        ledger.succeeded(attempt, 1.0)
    assert not ledger.broken
    assert ledger.begin(1.0) is None
    assert re.fullmatch(
        r"reading the inputs: OSError: the database went away \(\S+/test_ledger\.py:\d+\)", ledger.broken
    )
    assert ledger.finished
    assert ledger.counts() == (*counts, 2, 2, 0)
    assert ledger.begin(2.0) is None


def test_what_is_kept_of_an_error_is_bounded() -> None:
    """An error that looks final is compared with the next worker's error by its end, so only the end is kept."""
    book = ledger(1, retries=5)
    assert not book.failure(begun(book), "x" * 1_000_000 + "no such key)", final=False, proven=False)
    (trouble,) = book._troubles.values()
    assert len(trouble.last_final) == TEXT_KEPT
    assert book.failure(begun(book), "y" + "x" * 1_000_000 + "no such key)", final=False, proven=False)


def test_a_part_that_is_given_back_is_as_if_it_had_not_begun() -> None:
    ledger = Ledger([Part(0, 0), Part(1, 0)])
    attempt = ledger.begin_ahead(1.0)
    assert attempt is not None
    ledger.give_back(attempt)
    assert (ledger.begun, ledger.running, ledger.waiting(5), ledger.finished) == (0, 0, 2, False)
    again = ledger.begin(2.0)
    assert again is not None
    assert (again.part, again.number) == (attempt.part, 1)
    ledger.give_back(attempt)  # the attempt has ended, so this changes nothing
    assert ledger.running == 1


def test_a_part_that_has_failed_is_not_begun_ahead() -> None:
    ledger = Ledger([Part(0, 0)], retries=1)
    attempt = ledger.begin(1.0)
    assert attempt is not None
    ledger.failure(attempt, "no luck")
    assert ledger.begin_ahead(2.0) is None
    assert ledger.waiting(5) == 1


def test_a_backup_takes_a_part_that_is_given_back() -> None:
    ledger = Ledger([Part(number, 0) for number in range(4)], backup=2.0)
    for _ in range(3):
        attempt = ledger.begin(0.0)
        assert attempt is not None
        ledger.succeeded(attempt, 1.0)
    held = ledger.begin_ahead(1.0)
    assert held is not None
    assert ledger.want_backups(10.0) == 1
    ledger.give_back(held)
    assert (ledger.running, ledger.waiting(5)) == (0, 1)
    other = ledger.begin(11.0)
    assert other is not None
    assert not ledger.succeeded(other, 12.0)
    assert ledger.finished
    ledger.give_back(held)
    assert ledger.finished


def test_a_part_that_waits_for_a_retry_is_unattended() -> None:
    book = ledger(1, retries=1)
    attempt = begun(book)
    assert not book.unattended
    book.failure(attempt, "x")
    assert book.unattended


def test_a_part_whose_backup_waits_when_it_fails_is_begun_once() -> None:
    book = ledger(4, backup=1.5, retries=1)
    slow = begun(book)
    for _ in range(3):
        book.succeeded(begun(book), 1.0)
    assert book.want_backups(10.0) == 1
    assert not book.failure(slow, "x")
    assert begun(book).part == slow.part
    assert book.begin(11.0) is None


def test_failures_of_workers_that_were_ended_do_not_count_up_to_a_bound() -> None:
    book = ledger(1, retries=1)
    failed = [book.failure(begun(book), "x", excused=True) for _ in range(EXCUSED + 2)]
    assert failed == [False] * (EXCUSED + 1) + [True]
    assert book.failed == 1
    book = ledger(1)  # without retries nothing is tried again, and no other worker is accepted
    assert book.failure(begun(book), "x", excused=True)
