"""Several engines used as one."""

from collections.abc import Mapping
from typing import Any

from mu.engines.protocol import BaseEngine, Engine, Launches, Limit
from mu.engines.several import Several
from tests.support.fake_engine import FakeEngine


class Naming(FakeEngine):
    """Names its workers."""

    def owns(self, facts: Mapping[str, Any]) -> bool:
        return str(facts.get("request_id")).startswith(f"{self.name}-")


class InLambda(FakeEngine):
    """Says what the engine for AWS Lambda says."""

    regions = ["eu-west-1"]  # type: ignore[assignment]
    secrets = ["secret"]  # type: ignore[assignment]
    requests = 3  # type: ignore[assignment]
    launches = Launches(asked_by=[(1.0, 3)])  # type: ignore[assignment]
    pending = 2  # type: ignore[assignment]

    def bills(self, facts: Mapping[str, Any]) -> bool:
        return True

    def asker(self) -> Any:
        return str.upper

    def news(self) -> list[str]:
        return ["throttled"]


def test_it_tells_what_any_of_its_engines_tells() -> None:
    both = Several([Naming("here"), InLambda("lambda")])
    assert (both.regions, both.secrets, both.requests) == (["eu-west-1"], ["secret"], 3)
    assert (both.launches, both.pending) == (InLambda.launches, 2)
    assert both.asker() is str.upper
    assert both.news() == ["throttled"]
    assert both.bills({"request_id": "0-1-2"})
    assert not both.bills({"request_id": "here-1"})
    assert both.owns({"request_id": "here-1"})
    none = Several([Naming("here"), Naming("slurm")])
    assert not none.bills({"request_id": "0-1-2"})
    assert (none.regions, none.secrets, none.requests, none.launches) == ([], [], 0, Launches())
    assert none.asker() is None


def test_nothing_of_its_engines_is_forgotten() -> None:
    told = {name for name in {*vars(BaseEngine), *vars(Engine)} if not name.startswith("_")}
    assert told <= vars(Several).keys()


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
    one, two = FakeEngine("one", 5), Naming("two", 5)
    both = Several([one, two])
    both.start("{}", 6)
    both.shown({"request_id": "two-1"})
    both.shown({"request_id": "uuid"})
    both.left({"request_id": "two-1"})
    assert (len(one.hellos), len(two.hellos), one.ends, two.ends) == (1, 1, 0, 1)


def test_a_worker_without_a_known_name_is_none_of_an_engine_that_names_its_own() -> None:
    one, two = FakeEngine("one", 5), Naming("two", 50)
    both = Several([one, two])
    both.start("{}", 20)
    both.shown({"request_id": "uuid"})
    both.left({"request_id": "uuid"})
    assert (len(one.hellos), len(two.hellos), one.ends, two.ends) == (1, 0, 1, 0)


def test_what_is_lost_is_replaced_where_it_was_lost() -> None:
    one, two = FakeEngine("lambda", 10), FakeEngine("here", 2)
    both = Several([one, two])
    both.start("{}", 12)
    one.gone = 10
    assert both.lost(0.0) == 10
    both.more(10)
    assert (one.asked, two.asked) == (20, 2)


def test_connected_workers_take_room() -> None:
    one, two = FakeEngine("here", 2), FakeEngine("slurm", 10)
    both = Several([one, two])
    both.start("{}", 2)
    both.shown({})
    both.shown({})
    both.more(1)
    assert (one.asked, two.asked) == (2, 1)


def test_what_is_given_up_is_replaced_where_it_was() -> None:
    one, two = FakeEngine("lambda", 10), Naming("here", 2)
    both = Several([one, two])
    both.start("{}", 12)
    for number in range(2):
        both.shown({"request_id": f"here-{number}"})
    both.give_up()
    both.more(10)
    assert (one.asked, two.asked) == (20, 2)
    assert one.calls == ["give_up"]
    one.gone = 10  # the engine knows it, too, later
    assert both.lost(0.0) == 10
    both.left({"request_id": "here-0"})
    both.more(1)
    assert (one.asked, two.asked) == (20, 3)


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
