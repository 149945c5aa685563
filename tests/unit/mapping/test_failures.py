"""Grouping of failures, and the conditions under which failures end a job."""

import pytest

from mu.errors import UsageError
from mu.mapping import failures
from mu.mapping.failures import Groups, MaxFails, Rules, Watch, generic


@pytest.mark.parametrize(
    ("status", "stderr", "text", "final"),
    [
        (0, "", None, False),
        (2, "", None, False),
        (1, "x\nbad magic\n", "exit status 1: bad magic", False),
        (64, "usage", "exit status 64: usage", True),
        (126, "", "the program cannot be executed (exit status 126)", True),
        (
            127,
            "sh: 1: nope: not found",
            "the program was not found (exit status 127): sh: 1: nope: not found",
            True,
        ),
        (-9, "", "killed, probably out of memory (1,536 MB)", False),
        (137, "", "killed, probably out of memory (1,536 MB)", False),
        (-11, "", "ended by signal 11", False),
        (3, "a\x1b[31mred\r\n", r"exit status 3: a\x1b[31mred", False),
        (3, "10%\r20%\rfailed", "exit status 3: failed", False),
    ],
)
def test_what_a_status_means(status: int, stderr: str, text: str | None, final: bool) -> None:
    rules = Rules(frozenset((0, 2)), failures.statuses("64-78", "--ok"))
    verdict = rules.judge(status, stderr, memory=1536 << 20)
    assert (verdict and verdict.text) == text
    assert bool(verdict and verdict.final) is final
    assert bool(verdict and verdict.program) is (status in (126, 127))


def test_a_command_that_is_too_long_is_one_inputs_failure() -> None:
    """sh says it of the program that it cannot start, with the status of a program that nobody can start."""
    verdict = Rules().judge(126, "sh: 1: tool: Argument list too long\n")
    assert verdict
    assert (verdict.final, verdict.program) == (True, False)


def test_a_time_limit_is_a_failure_even_if_the_status_is_not() -> None:
    verdict = Rules(frozenset((-15,))).judge(-15, "", timed_out=2.5)
    assert verdict
    assert verdict.text == "took longer than 2.5 s"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", {0}), ("0,2", {0, 2}), ("64-66,1", {1, 64, 65, 66}), ("255", {255})]
)
def test_statuses(text: str, expected: set[int]) -> None:
    assert failures.statuses(text, "--ok") == expected


@pytest.mark.parametrize("text", ["", "x", "256", "3-1", "-1", "1,,2", "1-2-3", "٣"])
def test_no_statuses(text: str) -> None:
    with pytest.raises(UsageError, match="--ok: .* is not a list of exit statuses"):
        failures.statuses(text, "--ok")


def test_failures_of_one_kind_are_one_line() -> None:
    groups = Groups()
    for number in range(1, 31):
        groups.add(number, f"exit status 3: bad magic at {number * 100}")
    groups.add(31, "took longer than 2 s")
    assert groups.lines() == [
        "30 failed: exit status 3: bad magic at 100 (inputs 1, 2, 3, 4, 5, ...)",
        "1 failed: took longer than 2 s (input 31)",
    ]


def test_the_text_of_the_first_input_is_shown_with_its_own_names() -> None:
    """The texts that failures are grouped by have fields in place of names, which say nothing to a reader."""
    groups = Groups()
    groups.add(2, "{}: no such key", "s3://b/k: 1", "s3://b/k: 1: no such key")
    groups.add(7, "cannot read {in} as JSON", "a", "cannot read {in} as JSON")
    for number in (3, 4):
        groups.add(number, "{}: empty", f"s3://b/{number}", f"s3://b/{number}: empty")
    for number in (5, 6):
        groups.add(number, "cannot write {output}", f"i/{number}", f"cannot write o/{number}")
    assert groups.lines() == [
        "2 failed, for example: s3://b/3: empty (inputs 3: s3://b/3, 4: s3://b/4)",
        "2 failed, for example: cannot write o/5 (inputs 5: i/5, 6: i/6)",
        "1 failed: s3://b/k: 1: no such key (input 2)",
        "1 failed: cannot read {in} as JSON (input 7: a)",
    ]
    assert groups.as_data()[1] == {"failure": "cannot write o/5", "count": 2, "first": [5, 6]}


def test_exit_statuses_and_signals_are_kinds_of_their_own() -> None:
    groups = Groups()
    texts = [
        "exit status 1: no x1",
        "exit status 3",
        "exit status 139",
        "ended by signal 11",
        "ended by signal 6",
    ]
    for number, text in enumerate([*texts, "exit status 1: no x2"], 1):
        groups.add(number, text)
    assert groups.lines() == [
        "2 failed: exit status 1: no x1 (inputs 1, 6)",
        *(f"1 failed: {text} (input {number})" for number, text in enumerate(texts[1:], 2)),
    ]
    watch = Watch(None)
    assert not any(watch.failure(f"exit status {1 + number % 2}") for number in range(30))


def test_the_numbers_of_a_kind_are_sorted() -> None:
    """Inputs fail in any order."""
    groups = Groups()
    for number in (2, 10, 1):
        groups.add(number, "exit status 1")
    assert groups.lines() == ["3 failed: exit status 1 (inputs 1, 2, 10)"]
    assert groups.as_data() == [{"failure": "exit status 1", "count": 3, "first": [1, 2, 10]}]


def test_what_is_an_inputs_own_makes_no_kind_of_its_own() -> None:
    texts = {
        generic(
            f"cannot open /tmp/{n}/in.jpg for photos/{n} b.jpg",
            {f"/tmp/{n}/in.jpg": "{in}", f"photos/{n} b.jpg": "{}"},
        )
        for n in "xy"
    }
    assert texts == {"cannot open {in} for {}"}


def test_kinds_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "KINDS_KEPT", 20)
    groups = Groups()
    for number in range(100):
        groups.add(number, "x" * number)
    lines = groups.lines()
    assert lines[0].startswith("80 failed: other reasons")
    assert len(lines) == failures.GROUPS_SHOWN + 1
    assert groups.count == 100


def test_the_first_ten_failing_alike_end_the_job() -> None:
    watch = Watch(None)
    reasons = [watch.failure(f"exit status 1: no model {n}") for n in range(10)]
    assert reasons[:9] == [""] * 9
    assert reasons[9] == "the first 10 inputs have all failed with: exit status 1: no model 9"
    watch = Watch(None)
    reasons = [watch.failure("cannot write {output}", shown=f"cannot write o/{n}") for n in range(10)]
    assert reasons[9] == "the first 10 inputs have all failed with: cannot write o/9"


def test_one_success_or_another_failure_among_them_does_not() -> None:
    for other in (lambda watch: watch.success(), lambda watch: watch.failure("other")):
        watch = Watch(None)
        watch.failure("x")
        other(watch)
        assert watch.proven
        assert not any(watch.failure("x") for _ in range(30))


def test_a_program_that_cannot_run_ends_the_job_at_once_unless_it_has_run() -> None:
    assert Watch(None).failure("not found", program=True) == "not found"
    assert Watch(None).failure("no {}", program=True, shown="no a.sh") == "no a.sh"
    watch = Watch(None)
    watch.success()
    assert not watch.failure("not found", program=True)


@pytest.mark.parametrize("watch", [Watch(None, works=True), Watch(failures.max_fails("100%"))])
def test_a_command_that_has_worked_or_may_fail_proves_nothing_by_its_first_inputs(watch: Watch) -> None:
    assert watch.proven
    assert not watch.failure("not found", program=True)
    assert not any(watch.failure("not found") for _ in range(30))


def test_max_fails_as_a_number() -> None:
    watch = Watch(failures.max_fails("2"))
    watch.success()
    assert [bool(watch.failure("x")) for _ in range(3)] == [False, False, True]
    assert Watch(MaxFails(0)).failure("x") == "1 input failed, more than --max-fails 0"


def test_max_fails_as_a_share_of_a_known_total() -> None:
    watch = Watch(failures.max_fails("10%"), total=20)
    watch.success()
    assert [bool(watch.failure("x")) for _ in range(3)] == [False, False, True]


def test_max_fails_as_a_share_of_an_unknown_total_waits_for_a_hundred() -> None:
    watch = Watch(failures.max_fails("10%"))
    watch.success()
    for number in range(98):
        assert not watch.failure(f"{'x' * number}")
    assert watch.failure("y")


def test_max_fails_as_a_share_counts_what_was_done_before() -> None:
    watch = Watch(failures.max_fails("10%"))
    for _ in range(99):
        watch.skip()
    assert not watch.proven  # it may have been done elsewhere
    for number in range(11):
        assert not watch.failure(f"{'x' * number}")
    assert watch.failure("y") == "12 of 111 inputs failed, more than --max-fails 10%"


@pytest.mark.parametrize("text", ["", "-1", "x", "101%", "1.5", "%"])
def test_no_max_fails(text: str) -> None:
    with pytest.raises(UsageError, match="--max-fails"):
        failures.max_fails(text)
