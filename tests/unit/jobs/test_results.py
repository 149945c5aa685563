"""Descriptions of programs' results for people."""

from mu.jobs.results import MAX_STORY, Completed, story


def test_of_what_a_failed_program_printed_the_end_is_kept() -> None:
    told = story("./x", Completed(3, stderr="a" * 1_000_000 + "the end"))
    first, _, printed = told.partition("\n")
    assert first.startswith("exit status 3: aaa")
    assert first.endswith("... (from: ./x)")
    assert printed == "a" * (MAX_STORY - len("the end")) + "the end"
