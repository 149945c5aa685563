"""Counts of the workers that an engine starts: waiting, running, lost or failed."""

from mu.engines.protocol import Engine, Limit, assumed
from mu.engines.starts import GIVE_UP, CountedEngine, Starts


def test_a_worker_is_known_by_its_name() -> None:
    starts = Starts("here")
    starts.ask(2)
    first, second = starts.take(5)
    assert starts.take(1) == []  # no more workers were requested
    starts.shown({"request_id": first})
    assert starts.running == 2
    assert starts.ended(first)
    assert not starts.ended(second, "no network")
    assert (starts.lost, starts.last_words(), starts.running) == (1, "no network", 0)


def test_an_end_that_is_told_twice_counts_once() -> None:
    starts = Starts("here")
    starts.ask(1)
    (name,) = starts.take(1)
    starts.ended(name)
    starts.ended(name)
    assert starts.lost == 1


def test_a_hello_may_come_before_the_news_of_the_start_or_after_that_of_the_end() -> None:
    starts = Starts("slurm")
    starts.ask(2)
    starts.shown({"request_id": "slurm-1_0.0"})
    starts.begun("slurm-1_0.0")
    assert starts.ended("slurm-1_0.0")
    starts.begun("slurm-1_1.0")
    assert not starts.ended("slurm-1_1.0")
    assert starts.lost == 1
    starts.shown({"request_id": "slurm-1_1.0"})
    assert starts.lost == 0


def test_workers_without_a_name_make_up_for_as_many_unseen() -> None:
    starts = Starts("here")
    starts.ask(2)
    for name in starts.take(2):
        starts.ended(name)
    starts.shown({})
    assert (starts.anonymous, starts.lost) == (1, 1)


def test_progress_begins_with_the_first_start() -> None:
    starts = Starts("here")
    assert starts.progress is None
    starts.ask(3)
    starts.take(2)
    assert starts.progress is not None
    assert (starts.progress.total, starts.progress.queued, starts.progress.accepted) == (3, 1, 2)
    assert starts.waiting == 1


def test_it_is_hopeless_once_all_have_ended_unseen() -> None:
    starts = Starts("here")
    starts.ask(GIVE_UP + 1)
    names = starts.take(GIVE_UP + 1)
    for name in names[:GIVE_UP]:
        starts.ended(name, "no module named mu")
    assert not starts.hopeless  # one worker still runs
    starts.ended(names[-1], "killed")
    assert starts.hopeless
    assert starts.last_words() == "no module named mu"
    starts.shown({})
    assert not starts.hopeless


class Silent(CountedEngine):
    name = "silent"

    def __init__(self) -> None:
        self.starts = Starts("silent")

    def explained(self, said: str) -> str:
        return said.upper()


def test_an_engine_answers_from_what_it_has_counted() -> None:
    engine = Silent()
    assert (engine.asked, engine.progress, engine.failure()) == (0, None, None)
    engine.starts.ask(GIVE_UP)
    for name in engine.starts.take(GIVE_UP):
        engine.starts.ended(name, "exit 3")
    assert (engine.asked, engine.lost(0.0)) == (GIVE_UP, GIVE_UP)
    assert engine.failure() == "workers end before they connect: EXIT 3"
    engine.shown({"request_id": "another's"})
    assert engine.failure() is None


def test_workers_that_end_without_a_word_are_told_as_such() -> None:
    engine = Silent()
    engine.starts.ask(GIVE_UP)
    for name in engine.starts.take(GIVE_UP):
        engine.starts.ended(name)
    assert engine.failure() == "workers end before they connect: they say nothing"
    assert not isinstance(engine, Engine)  # it cannot start workers


def test_a_limit_that_is_assumed_says_how_to_set_it() -> None:
    assert assumed(7, 1000, "Slurm") == Limit(7, "--workers")
    assert assumed(None, 1000, "Slurm") == Limit(1000, "assumed for Slurm; --workers sets another number")
