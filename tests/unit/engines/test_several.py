"""Several engines used as one."""

from mu.engines.protocol import Engine, Limit
from mu.engines.several import Several
from tests.support.fake_engine import FakeEngine


def test_it_is_an_engine() -> None:
    both = Several([FakeEngine("here", 2), FakeEngine("slurm", 10)])
    assert isinstance(both, Engine)
    assert both.name == "here+slurm"
    assert both.limit() == Limit(12, "here 2: says the test; slurm 10: says the test")
    assert Several([FakeEngine("a"), FakeEngine("b", 1)]).limit().number is None
    assert both.progress is None


def test_starts_fill_the_first_then_the_next() -> None:
    one, two = FakeEngine("here", 2), FakeEngine("slurm", 10)
    both = Several([one, two])
    both.start("{}", 5)
    assert (one.asked, two.asked, both.asked) == (2, 3, 5)
    assert (one.event, two.event) == ("{}", "{}")
    assert both.progress is not None
    assert both.progress.accepted == 5
    both.more(1)
    assert (one.asked, two.asked) == (2, 4)
    both.more(8)  # beyond all limits, which the caller is responsible for
    assert (one.asked, two.asked) == (2, 12)


def test_a_place_that_is_free_again_is_filled_again() -> None:
    one, two = FakeEngine("here", 2), FakeEngine("slurm", 10)
    both = Several([one, two])
    both.start("{}", 2)
    both.shown({})
    both.left({})
    both.more(1)
    assert (one.asked, two.asked) == (3, 0)
    assert (len(one.hellos), one.ends) == (1, 1)


def test_a_worker_is_told_to_the_engine_that_names_it() -> None:
    class Starts:
        def owns(self, facts: object) -> bool:
            return isinstance(facts, dict) and str(facts.get("request_id")).startswith("two-")

    one, two = FakeEngine("one", 5), FakeEngine("two", 5)
    two.starts = Starts()  # type: ignore[attr-defined]
    both = Several([one, two])
    both.start("{}", 6)
    both.shown({"request_id": "two-1"})
    both.shown({"request_id": "uuid"})
    both.left({"request_id": "two-1"})
    assert (len(one.hellos), len(two.hellos), one.ends, two.ends) == (1, 1, 0, 1)


def test_one_that_fails_leaves_its_work_to_the_other() -> None:
    one, two = FakeEngine("here", 2), FakeEngine("slurm", 10)
    both = Several([one, two])
    both.start("{}", 2)
    one.failed = "no more processes"
    assert both.failure() is None
    assert both.lost(0.0) == 2
    assert both.note() == "; here: no more processes"
    both.more(2)
    assert (one.asked, two.asked) == (2, 2)
    two.failed = "no sbatch"
    assert both.failure() == "here: no more processes; slurm: no sbatch"


def test_the_address_is_that_of_the_farther_engine() -> None:
    assert Several([FakeEngine("here"), FakeEngine("slurm")]).own_address() == "10.0.0.1"
    assert Several([FakeEngine("here")]).own_address() == "127.0.0.1"


def test_the_end_is_for_all() -> None:
    one, two = FakeEngine("here"), FakeEngine("slurm")
    both = Several([one, two])
    both.cancel()
    both.wait()
    assert one.calls == two.calls == ["cancel", "wait"]
