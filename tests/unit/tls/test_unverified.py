"""Which unverified connections are kept and which are closed for new ones, by tables and attacks in simulated time."""

import heapq
import random
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from mu.tls.unverified import PLACES, Unverified, networks

ROUND_TRIP = 0.1  # seconds from a worker to the port and back


class Someone:
    """A connection; `speaks_at` is the moment at which its first bytes arrive."""

    numbers = count(1)

    def __init__(self, address: str, speaks_at: float = float("inf")) -> None:
        self.address = address
        self.fd = next(self.numbers)
        self.deadline = 0.0
        self.speaks_at = speaks_at


def of(limit: int, expected: int = 0) -> Unverified[Someone]:
    return Unverified(limit, expected, lambda someone: someone.speaks_at < 0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", ("10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16")),
        ("::ffff:10.1.2.3", ("10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16")),
        ("2001:db8:1:2:3::4", ("2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1::/48")),
        ("fe80::1%eth0", ("fe80::/64", "fe80::/56", "fe80::/48")),
        ("[::1]", ("::/64", "::/56", "::/48")),
        ("nowhere", ("nowhere",)),
    ],
)
def test_networks(address: str, expected: tuple[str, ...]) -> None:
    assert tuple(network for network, _ in networks(address)) == expected


def test_an_address_harms_only_itself() -> None:
    waiting = of(10)
    others = [Someone("10.9.0.1"), Someone("10.8.0.1")]
    assert [waiting.add(other) for other in others] == [None, None]
    mine = [Someone("10.0.0.1") for _ in range(50)]
    gone = [waiting.add(one) for one in mine]
    assert gone == [None] * 5 + mine[:45]
    assert all(other in waiting for other in others)


@pytest.mark.parametrize(
    ("address", "most"),
    [
        (lambda number: f"2001:db8::{number:x}", 10),
        (lambda number: f"2001:db8:0:{number % 256:x}::1", 12),
        (lambda number: f"2001:db8:0:{number:x}::1", 15),
        (lambda number: f"10.0.0.{number % 250}", 12),
        (lambda number: f"10.0.{number % 250}.{number // 250}", 15),
    ],
    ids=["/64", "/56", "/48", "/24", "/16"],
)
def test_a_networks_share(address: Callable[[int], str], most: int) -> None:
    waiting = of(20)
    for number in range(1000):
        waiting.add(Someone(address(number)))
    assert len(waiting) == most


def test_workers_may_all_come_from_one_address() -> None:
    waiting = of(20, expected=18)
    assert [waiting.add(Someone("10.0.0.1")) for _ in range(18)] == [None] * 18
    assert waiting.add(Someone("10.0.0.1")) is not None


def test_who_has_spoken_stays_while_others_are_silent() -> None:
    waiting = of(4)
    first, read, silent, unread = (Someone(f"10.{number}.0.1") for number in range(4))
    for someone in (first, read, silent, unread):
        waiting.add(someone)
    waiting.heard(read)
    first.speaks_at = -1  # data has arrived that was not read yet
    assert waiting.add(Someone("10.5.0.1")) is silent
    assert waiting.add(Someone("10.6.0.1")) is unread
    for number in (7, 8):
        waiting.add(Someone(f"10.{number}.0.1"))
    assert first in waiting
    assert read in waiting


def test_when_all_have_spoken_the_first_that_did_goes() -> None:
    waiting = of(2)
    people = [Someone(f"10.{number}.0.1") for number in range(2)]
    for someone in people:
        waiting.add(someone)
        waiting.heard(someone)
    assert waiting.to_go() is people[0]
    assert waiting.add(Someone("10.5.0.1")) is people[0]


def test_nothing_is_left_of_those_that_are_gone() -> None:
    waiting = of(100)
    chooser = random.Random(1)
    here: list[Someone] = []
    for _ in range(2000):
        if here and chooser.random() < 0.5:
            waiting.remove(here.pop(chooser.randrange(len(here))))
        else:
            someone = Someone(f"10.{chooser.randrange(4)}.{chooser.randrange(4)}.1")
            gone = waiting.add(someone)
            here.append(someone)
            if gone is not None:
                here.remove(gone)
            if chooser.random() < 0.5:
                waiting.heard(someone)
        assert set(waiting) == set(here)
    for someone in here:
        waiting.remove(someone)
    assert (len(waiting), waiting._groups, len(waiting._whole)) == (0, {}, 0)


def attacked(attackers: Iterator[str], rate: float, workers: list[str], seconds: float) -> int:
    """Returns how many workers are admitted while `attackers` open `rate` silent connections a second.

    A worker connects, sends its ClientHello a round trip later, and its hello two round trips after that; a worker
    whose connection is closed connects again after a second. Time is simulated.
    """
    now = 0.0
    waiting: Unverified[Someone] = Unverified(PLACES, 0, lambda someone: someone.speaks_at <= now)
    events: list[tuple[float, int, str, object]] = []
    numbers = count()

    def at(moment: float, what: str, who: object) -> None:
        heapq.heappush(events, (moment, next(numbers), what, who))

    for place, address in enumerate(workers):
        at(place * 0.01, "connect", address)
    at(0.0, "attack", None)
    admitted = 0
    while events and admitted < len(workers):
        now, _, what, who = heapq.heappop(events)
        if now > seconds:
            break
        if what == "attack":
            waiting.add(Someone(next(attackers)))
            at(now + 1 / rate, "attack", None)
        elif what == "connect":
            worker = Someone(str(who), now + ROUND_TRIP)
            waiting.add(worker)
            at(now + ROUND_TRIP, "hear", worker)
        elif isinstance(who, Someone) and who not in waiting:
            at(now + 1.0, "connect", who.address)
        elif isinstance(who, Someone) and what == "hear":
            waiting.heard(who)
            at(now + 2 * ROUND_TRIP, "hello", who)
        elif isinstance(who, Someone):
            waiting.remove(who)
            admitted += 1
    return admitted


def from_one() -> Iterator[str]:
    while True:
        yield "192.0.2.1"


def from_many() -> Iterator[str]:
    for number in count():
        yield f"10.{number % 200}.0.1"


def from_a_prefix() -> Iterator[str]:
    for number in count():
        yield f"2001:db8::{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}"


@pytest.mark.parametrize("attackers", [from_one, from_many, from_a_prefix])
@pytest.mark.parametrize("behind", ["one gateway", "many addresses"])
def test_workers_get_in_while_others_attack(attackers: Callable[[], Iterator[str]], behind: str) -> None:
    """There are 6,000 silent connections a second; the limit is the 2.3 s that 200 workers take without them, and 2
    s."""
    workers = ["198.51.100.7" if behind == "one gateway" else f"198.51.{n}.1" for n in range(200)]
    assert attacked(attackers(), 6000, workers, 2 * 2.3 + 2) == 200
