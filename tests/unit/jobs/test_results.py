"""What programs come to, for people."""

from mu.jobs.results import MAX_STORY, Completed, story


def test_of_what_a_failed_program_printed_the_end_is_kept() -> None:
    told = story("./x", Completed(3, stderr="a" * 1_000_000 + "the end"))
    assert told.startswith("exit status 3 from: ./x\na")
    assert told.endswith("the end")
    assert len(told) == len("exit status 3 from: ./x\n") + MAX_STORY
