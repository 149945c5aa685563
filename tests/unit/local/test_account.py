"""The account's limits and the queue of events; the model has no clock, and tests pass the time to it."""

import pytest

from mu.engines.ramp import UNLIMITED, Ramp
from mu.local.account import (
    OVER_ACCOUNT,
    OVER_GROWTH,
    OVER_RESERVED,
    Account,
    EventConfig,
    EventQueue,
)

F, G, ELSEWHERE = ("us-east-1", "f"), ("us-east-1", "g"), ("eu-west-1", "f")


def admitted(account: Account, *places: tuple[str, str], now: float = 0.0) -> list[str | None]:
    return [account.admit(place, now) for place in places]


def test_functions_share_the_accounts_concurrency_in_each_region() -> None:
    account = Account(2, UNLIMITED)
    assert admitted(account, F, G, F, G) == [None, None, OVER_ACCOUNT, OVER_ACCOUNT]
    assert admitted(account, ELSEWHERE, ELSEWHERE, ELSEWHERE) == [None, None, OVER_ACCOUNT]
    account.free(F)
    assert admitted(account, G, F) == [None, OVER_ACCOUNT]


def test_a_reservation_is_a_functions_own_and_not_the_others() -> None:
    account = Account(103, UNLIMITED)
    account.reserve(F, 2)
    assert account.unreserved("us-east-1") == 101
    assert account.unreserved("eu-west-1") == 103
    assert admitted(account, F, F, F) == [None, None, OVER_RESERVED]
    assert admitted(account, *[G] * 102) == [None] * 101 + [OVER_ACCOUNT]
    account.reserve(F, None)
    assert admitted(account, F) == [OVER_ACCOUNT], "what it runs counts with the others' now"


@pytest.mark.parametrize(
    ("concurrency", "number", "least"), [(1000, 901, 100), (1000, 900, None), (10, 1, 10), (150, 51, 100)]
)
def test_how_much_can_be_reserved(concurrency: int, number: int, least: int | None) -> None:
    account = Account(concurrency)
    if least is None:
        account.reserve(F, number)
        account.reserve(F, number)  # reserving the same number again changes nothing
        assert account.reserved(F) == number
        return
    with pytest.raises(ValueError, match=rf"below its minimum value of \[{least}\]\."):
        account.reserve(F, number)
    assert account.reserved(F) is None


def test_a_reservation_of_none() -> None:
    account = Account(1000)
    account.reserve(F, 0)
    assert admitted(account, F, G) == [OVER_RESERVED, None]


def test_growth_is_each_functions_own() -> None:
    account = Account(1000, Ramp(2, 1.0))
    assert admitted(account, F, F, F, G) == [None, None, OVER_GROWTH, None]
    assert admitted(account, F, F, now=1.0) == [None, OVER_GROWTH]
    account.free(F)
    assert admitted(account, F, F, now=1.0) == [None, OVER_GROWTH], "an idle environment takes it"


def turns(queue: "EventQueue[str]", now: float) -> list[tuple[str, bool]]:
    return [(event.item, started) for event, started in queue.take(now)]


def test_events_over_the_limit_back_off_and_start_in_order() -> None:
    """Events are tried again after 1, 3, 7 … seconds, even if the account has room earlier."""
    account = Account(1, UNLIMITED)
    queue: EventQueue[str] = EventQueue(account)
    for name in "abc":
        queue.put(name, F, EventConfig(), 0.0)
    assert turns(queue, 0.0) == [("a", True)]
    assert queue.next_turn() == 1.0
    account.free(F)
    assert turns(queue, 0.9) == [], "the queue does not look before its time"
    assert turns(queue, 1.0) == [("b", True)]
    assert queue.next_turn() == 3.0
    account.free(F)
    assert turns(queue, 3.0) == [("c", True)]
    assert queue.next_turn() is None
    assert len(queue) == 0


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    account = Account(1, UNLIMITED)
    account.admit(F, 0.0)
    queue: EventQueue[str] = EventQueue(account)
    queue.put("a", F, EventConfig(), 0.0)
    now, delays = 0.0, []
    for _ in range(11):
        assert turns(queue, now) == []
        due = queue.next_turn()
        assert due is not None
        delays.append(due - now)
        now = due
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_an_event_older_than_its_function_allows_is_dropped_at_its_next_turn() -> None:
    """The limit is 60 s: the event is dropped at 63 s, its seventh try, although the account has room by then."""
    account = Account(1, UNLIMITED)
    account.admit(F, 0.0)
    queue: EventQueue[str] = EventQueue(account)
    queue.put("a", F, EventConfig(max_age=60.0), 0.0)
    for now in (0, 1, 3, 7, 15, 31):
        assert turns(queue, float(now)) == []
    account.free(F)
    assert turns(queue, 62.0) == []
    assert turns(queue, 63.0) == [("a", False)]
    assert queue.next_turn() is None


def test_without_any_reserved_concurrency_events_are_dropped_at_once() -> None:
    account = Account(1000)
    account.reserve(F, 0)
    queue: EventQueue[str] = EventQueue(account)
    queue.put("a", F, EventConfig(), 0.0)
    assert turns(queue, 0.0) == [("a", False)]


def test_an_event_whose_function_fails_is_tried_again_after_one_minute_and_after_two() -> None:
    queue: EventQueue[str] = EventQueue(Account())
    queue.put("a", F, EventConfig(retries=2), 0.0)
    ((event, _),) = queue.take(0.0)
    assert queue.retry(event, 10.0)
    assert turns(queue, 69.9) == []
    assert turns(queue, 70.0) == [("a", True)]
    assert queue.retry(event, 80.0)
    assert turns(queue, 199.9) == []
    assert turns(queue, 200.0) == [("a", True)]
    assert not queue.retry(event, 210.0)


def test_no_retry_after_the_event_has_become_too_old() -> None:
    queue: EventQueue[str] = EventQueue(Account())
    queue.put("a", F, EventConfig(max_age=60.0, retries=1), 0.0)
    ((event, _),) = queue.take(0.0)
    assert queue.retry(event, 1.0)
    assert turns(queue, 61.0) == [("a", False)]


def test_clearing_gives_back_what_waits_in_order() -> None:
    account = Account(1, UNLIMITED)
    account.admit(F, 0.0)
    queue: EventQueue[str] = EventQueue(account)
    for name in "abc":
        queue.put(name, F, EventConfig(), 0.0)
    assert turns(queue, 0.0) == []
    assert queue.clear() == ["a", "b", "c"]
    assert queue.next_turn() is None
