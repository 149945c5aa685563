"""The count of one engine's workers."""

from mu.engines.headcount import Headcount
from tests.support.fake_engine import FakeEngine


def test_a_worker_is_expected_until_it_connects() -> None:
    engine = FakeEngine("one")
    count = Headcount(engine)
    engine.more(3)
    count.shown({})
    assert (count.expected, count.missing, count.connected) == (2, 2, 1)
    count.left({})
    assert (count.expected, count.missing, count.connected) == (2, 2, 0)
    assert (len(engine.hellos), engine.ends) == (1, 1)


def test_a_worker_that_is_given_up_and_then_lost_is_subtracted_once() -> None:
    engine = FakeEngine("one")
    count = Headcount(engine)
    engine.more(3)
    count.shown({})
    count.give_up()
    assert (count.expected, engine.calls) == (0, ["give_up"])
    engine.more(2)
    assert count.expected == 2
    count.lost = 2
    assert count.expected == 2
    count.lost = 3
    assert count.expected == 1


def test_workers_that_nobody_has_asked_for_are_not_expected() -> None:
    count = Headcount(FakeEngine("one"))
    count.shown({})
    count.left({})
    count.left({})
    assert (count.expected, count.missing, count.connected) == (0, 0, 0)
