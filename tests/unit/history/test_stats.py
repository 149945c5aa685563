"""The statistics of `mu stats`: how a run's time was spent."""

from pathlib import Path

import pytest

from mu.cli import main
from mu.cli.stats import report
from mu.history import stats
from mu.history.runs import Row, Run, load
from tests.support.made_runs import write_record, write_times


def row(part: int, *entered: tuple[float, str], end: float, attempt: int = 1, **more: object) -> Row:
    outcome = str(more.pop("outcome", "done"))
    return Row(part, attempt, entered[0][0], end, outcome, entered, **more)  # type: ignore[arg-type]


# The last worker is part 1's second: requested by 1, first connected at 2, again at 5, ended at 11; typical is 4.
RUN = Run(
    name="job",
    seconds=11.5,
    parts=3,
    done=3,
    rows=[
        row(0, (1.5, "A"), (2.5, "B"), end=5.5),
        row(1, (2.0, "A"), end=4.0, outcome="failed"),
        row(2, (2.0, "A"), (3.0, "B"), (3.0, "End"), end=6.0),
        row(
            1,
            (5.0, "A"),
            (6.0, "B"),
            (11.0, "End"),
            end=11.0,
            attempt=2,
            spent={"retrieve": 1.0, "run": 3.0, "other": 2.0},
        ),
    ],
    launched=[(-0.5, 1), (1.0, 2), (1.2, 3)],
)


def test_what_the_job_waited_for_adds_up() -> None:
    waited = stats.waited_for(RUN)
    assert waited == pytest.approx(
        {
            "launching": 1.5,
            "connecting": 1.0,
            "failed attempts": 3.0,
            "S3, retrieving": 4.0 / 6,
            "running the program": 2.0,
            "other commands": 8.0 / 6,
            "straggling": 2.0,
            "ending": 0.5,
        }
    )
    assert sum(waited.values()) == pytest.approx(RUN.seconds + 0.5)


def test_parts_that_wait_for_workers_wait_for_earlier_parts() -> None:
    # Two workers at a time. Part 3 is the second part of worker 3, which was requested when worker 1 had ended.
    rows = [
        row(0, (1.0, "A"), end=4.0, worker=1),
        row(1, (1.0, "A"), end=9.0, worker=2),
        row(2, (5.5, "A"), end=8.5, worker=3),
        row(3, (8.5, "A"), end=11.5, worker=3),
    ]
    asked, accepted = [(0.0, 2), (4.0, 3)], [(0.5, 2), (4.5, 3)]
    run = Run("job", 11.5, 4, 4, rows, asked=asked, launched=accepted)
    assert stats.waited_for(run) == pytest.approx(
        {
            "earlier parts": 4.0 + 3.0,
            "launching": 0.5,
            "connecting": 1.0,
            "working": 3.0,
            "straggling": 0.0,
            "ending": 0.0,
        }
    )
    assert stats.workers(run) == 3
    assert stats.workers(RUN) == 4  # the workers of this run have no numbers
    # Records of older versions lack the request times; their time then counts as launching.
    older = stats.waited_for(Run("job", 11.5, 4, 4, rows, launched=accepted))
    assert (older["earlier parts"], older["launching"]) == (3.0, 4.5)


def test_the_critical_path_is_not_that_of_a_backups_loser() -> None:
    rows = [
        row(0, (0.0, "A"), end=2.0),
        row(1, (0.0, "A"), end=9.001, outcome="unfinished"),
        row(1, (5.0, "B"), end=9.0, attempt=2),
    ]
    assert stats.last_row(Run("job", 9.5, 2, 2, rows)) is rows[2]
    # A part that no worker has done is what the job waited for.
    rows[2] = row(1, (5.0, "B"), end=8.0, attempt=2, outcome="failed")
    assert stats.last_row(Run("job", 9.5, 2, 1, rows)) is rows[1]


@pytest.mark.parametrize("parts", [1, 2, 5, 200])
def test_it_adds_up_for_any_run(tmp_path: Path, parts: int) -> None:
    run = load(write_record(tmp_path / "r", parts, failing=0.3))
    begin = min(0.0, run.launched[0][0])
    assert sum(stats.waited_for(run).values()) == pytest.approx(run.seconds - begin)
    assert all(took >= 0 for took in stats.waited_for(run).values())
    run = load(write_times(tmp_path / "t", parts, failing=0.3))
    waited = stats.waited_for(run)
    assert sum(waited.values()) == pytest.approx(run.seconds)
    assert set(waited) <= {"launching and connecting", "failed attempts", "working", "straggling", "ending"}


def test_states() -> None:
    first, second = stats.state_times(RUN)[:2]
    assert (first.name, first.attempts, first.visits, first.total) == ("B", 2, 2, pytest.approx(8.0))
    assert (second.name, second.attempts, second.visits) == ("A", 4, 4)
    assert second.percentiles == (1.0, 2.0, 2.0, 2.0)
    assert [state.name for state in stats.state_times(RUN)] == ["B", "A", "End"]


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1.0), (50, 2.0), (51, 3.0), (75, 3.0), (90, 4.0), (100, 4.0)]
)
def test_percentiles_are_nearest_ranks(percent: float, value: float) -> None:
    assert stats.percentile([1.0, 2.0, 3.0, 4.0], percent) == value


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["stats", str(write_record(tmp_path / "run", 20))]) == 0
    said = capsys.readouterr().out
    assert said.startswith("png2y4m_server.py: 20 of 20 parts done in ")
    for text in (
        "launching",
        "running the program",
        "PNG2Y4MUploadState",
        "the critical path: part ",
        "the longest: part ",
    ):
        assert text in said


def test_tables_have_the_names_of_inputs() -> None:
    run = Run(
        "job",
        9.0,
        2,
        2,
        [row(0, (1.0, "A"), end=2.0, name="a.png"), row(1, (1.0, "A"), end=8.0, name="b.png")],
    )
    said = report(run)
    assert "the critical path: part 1 b.png, which ended last" in said
    assert "the longest: part 1 b.png (7.00 s), part 0 a.png (1.00 s)" in said


@pytest.mark.parametrize(
    ("name", "title"),
    [("a.png", "part 3 a.png, attempt 2"), ("3", "part 3, attempt 2"), ("", "part 3, attempt 2")],
)
def test_the_title_of_an_attempt(name: str, title: str) -> None:
    """An input of `mu map --range` has the name that is its number."""
    assert row(3, (1.0, "A"), end=2.0, attempt=2, name=name).title == title
