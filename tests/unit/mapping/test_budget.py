"""`--max-cost`: which inputs and attempts may begin."""

from pathlib import Path
from typing import Any

import pytest

from mu.errors import UsageError
from mu.mapping import budget, job, rows
from mu.mapping.budget import Budget
from mu.mapping.direct import Direct
from mu.mapping.invoker import Answer
from mu.mapping.job import Map
from mu.mapping.settings import Given
from mu.report.cost import Function
from tests.support.map_rig import run_map
from tests.support.parts import executed

FUNCTION, REGIONS, LONGEST = Function(1024, "x86_64"), ["us-east-1"], 1.0


class Priced(Budget):
    """A budget with a price from the start."""

    def __init__(self, limit: float | None) -> None:
        super().__init__(limit)
        self.set_price(FUNCTION, LONGEST, REGIONS)


WORST = Priced(None).worst  # dollars; the price of the request is more than a hundredth of it


def test_running_inputs_count_with_their_longest_time() -> None:
    made = Priced(3.5 * WORST)
    begun = 0
    while made.allows():
        made.begin()
        begun += 1
    assert begun == 3
    made.over()
    assert made.allows()


def test_what_was_spent_counts() -> None:
    made = Priced(1.75 * WORST)
    for _ in range(2):
        made.begin()
        made.spend(LONGEST / 4)
        made.over()
    assert made.spent == pytest.approx(budget.price(FUNCTION, LONGEST / 2, 2, REGIONS), rel=0.01)
    assert made.allows()
    made.spend(LONGEST / 4)
    assert not made.allows()


def test_a_running_input_may_have_another_attempt_while_the_limit_allows_it() -> None:
    made = Priced(2.0 * WORST)
    for _ in range(2):
        made.begin()
    assert made.allows_again()
    made.spend(0.0)  # one request
    assert not made.allows_again()


def test_a_limit_that_allows_nothing() -> None:
    Priced(WORST).check()
    Priced(None).check()
    with pytest.raises(
        UsageError, match=r"^--max-cost 0\.000001 allows no input: one could cost \$0\.00001\d+ if "
    ):
        Priced(1e-6).check()


@pytest.mark.parametrize(("amount", "text"), [(1e-6, "0.000001"), (5, "5"), (2.5, "2.5"), (1e7, "10000000")])
def test_amounts_have_no_exponent(amount: float, text: str) -> None:
    assert budget.dollars(amount) == text


def test_without_a_limit_all_may_begin() -> None:
    made = Priced(None)
    made.spend(1e9)
    assert made.allows()
    assert made.allows_again()


# The limit is the most that one attempt can cost, so that the first failed attempt leaves too little for another.


def test_a_worker_has_no_attempt_that_the_limit_does_not_allow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "Budget", Priced)
    summary, commands = run_map(
        Given(shell="exit 3", retries=4, max_cost=1.001 * WORST), rows.listed(["a", "b"])
    )
    assert len(commands) == 1
    assert (summary.failed, summary.not_begun) == (1, 1)
    assert "could exceed --max-cost" in summary.stopped


def test_direct_makes_no_invocation_that_the_limit_does_not_allow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "Budget", Priced)
    monkeypatch.setattr(Map, "region", "us-east-1")

    class Invoker:
        calls = 0

        def invoke(self, commands: list[str], ok: list[int]) -> Answer:
            self.calls += 1
            return Answer([executed("", status=3)], seconds=1.0, requests=1)

        def stop(self) -> None:
            pass

    given = Given(shell="exit 3", engine=("lambda",), direct=True, retries=4, max_cost=1.001 * WORST)
    made = Map(job.check(given, rows.listed(["a", "b"])))
    invoker: Any = Invoker()
    try:
        made.open(None, {})
        Direct(made, invoker, 1, lambda: None, 0, lambda *_: None).run(lambda: False)
        summary = made.summary(0, "", None)
    finally:
        made.close()
    assert invoker.calls == 1
    assert (summary.failed, summary.not_begun) == (1, 1)
    assert "could exceed --max-cost" in summary.stopped
