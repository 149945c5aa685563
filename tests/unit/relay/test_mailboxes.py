"""The relay's undelivered messages, without sockets."""

import pytest

from mu.relay.mailboxes import OVERHEAD, Mailboxes, shown

ONE, OTHER, FOREIGN = ("job", 1), ("job", 2), ("another", 1)


def nobody(name: object) -> bool:
    return False


def test_messages_come_out_in_order_and_are_accounted_for() -> None:
    boxes = Mailboxes[str](1 << 20, 1 << 20)
    for data in (b"a", b"bc"):
        boxes.put(ONE, data, 10.0)
    assert (boxes.waiting, boxes.kept) == (2, 3 + 2 * OVERHEAD)
    assert [boxes.take(ONE), boxes.take(ONE)] == [b"a", b"bc"]
    assert (boxes.waiting, boxes.kept) == (0, 0)
    with pytest.raises(IndexError):
        boxes.take(ONE)


def test_what_is_kept_is_limited_for_all_and_for_each_job() -> None:
    boxes = Mailboxes[str](5 * OVERHEAD, 2 * OVERHEAD)
    boxes.put(ONE, b"", 10.0)
    assert boxes.refusal(OTHER, b"") == ""
    assert "one job's" in boxes.refusal(OTHER, b"x")
    for _ in range(3):
        boxes.put(FOREIGN, b"", 10.0)
    assert boxes.refusal(ONE, b"") == ""
    assert boxes.refusal(ONE, b"x").startswith(f"over the limit of {5 * OVERHEAD} bytes")
    boxes.take(FOREIGN)
    assert "one job's" in boxes.refusal(FOREIGN, b"")


def test_paused_senders_go_on_once_and_an_empty_inbox_is_forgotten() -> None:
    boxes = Mailboxes[str](1 << 20, 1 << 20)
    boxes.put(ONE, b"a", 10.0)
    boxes.open(ONE).senders.add("sender")
    assert boxes.let_go(ONE) == {"sender"}
    assert boxes.let_go(ONE) == set()
    assert boxes.get(ONE) is not None  # the mailbox exists, since it has a message
    boxes.take(ONE)
    boxes.let_go(ONE)
    assert boxes.get(ONE) is None
    assert boxes.let_go(OTHER) == set()
    assert boxes.get(None) is None


def test_old_messages_are_dropped_for_those_who_are_not_there() -> None:
    boxes = Mailboxes[str](1 << 20, 1 << 20)
    for until in (5.0, 6.0, 9.0):
        boxes.put(ONE, b"a", until)
        boxes.put(OTHER, b"b", until)
    assert list(boxes.expire(6.0, lambda name: name == OTHER)) == [(ONE, 2)]
    assert boxes.waiting == 4
    assert sorted(boxes.expire(20.0, nobody)) == [(ONE, 1), (OTHER, 3)]
    assert (boxes.kept, boxes.waiting, boxes.get(ONE)) == (0, 0, None)


def test_a_name_for_people_is_that_of_the_wire() -> None:
    assert shown(("job", -1)) == "job_-1"
