"""Tables for each state class: what it waits for, what it sends, and its next state."""

import socket
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mu
from mu import (
    CommandListState,
    ErrorState,
    ForLoopState,
    IfElseState,
    InfoWatcherState,
    MachineState,
    MultiPassState,
    OnePassState,
    SuperpositionState,
    TerminalState,
)
from mu.machine import chain, described, handled, info, texts
from mu.machine import state as machine_code
from mu.machine.state import MAX_WAITING
from mu.report.failure import explain, failure_of
from mu.wire.socket_nb import SocketNB
from tests.support.machines import Driven


class Final(TerminalState):
    extra = "(finished)"


class Ask(OnePassState):
    expect = "OK:HELLO"
    command = "get:x"
    nextState = Final
    extra = "(asking)"


def error_of(driven: Driven) -> str:
    assert isinstance(driven.machine, ErrorState)
    return driven.machine.err


def listing(entries: list[Any], *, pipelined: bool = False, following: Any = Final) -> type[CommandListState]:
    return type(
        "Listing",
        (CommandListState,),
        {"commandlist": entries, "pipelined": pipelined, "nextState": following},
    )


# MachineState


def test_what_is_carried_from_state_to_state() -> None:
    class Second(OnePassState):
        expect = "OK:GET"
        nextState = Final

    class First(Ask):
        nextState = Second

        def post_transition(self) -> MachineState:
            self.info["seen"] = self.messages
            return super().post_transition()

    driven = Driven(First, 7)
    assert str(driven.machine) == "7:(asking)"
    driven.says("OK:HELLO world")
    second = driven.machine
    assert (driven.at, second.actorNum, second.info) == ("Second", 7, {"seen": ["OK:HELLO world"]})
    assert second.messages == []
    driven.says("OK:GET(1)")
    assert driven.machine.stateinfo == ["First", "Second", "Final"]
    assert driven.machine.timestamps == sorted(driven.machine.timestamps)
    assert str(driven.machine) == "7:(finished)"


def test_a_state_can_begin_on_a_plain_socket() -> None:
    mine, theirs = socket.socketpair()
    state = Ask(mine, 3)
    assert (state.actorNum, state.sock) == (3, mine)
    theirs.send(b"000000000008 OK:HELLO")
    state = state.do_read().do_handle().do_write()  # type: ignore[assignment]
    assert theirs.recv(100) == b"000000000005 get:x"
    assert isinstance(state, Final)
    state.close()
    theirs.close()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("OK:BYE", "OK:BYE"),
        ("ok:hello", "ok:hello"),
        ("OK:HELL", "OK:HELL"),
        ("", ""),
        ("FAIL(no such thing)", "FAIL(no such thing)"),
        ("INFO:", "INFO:"),
        ("INFO::v", "INFO::v"),
        ("INFO:key", "INFO:key"),
    ],
)
def test_messages_that_end_in_an_error(message: str, error: str) -> None:
    driven = Driven(Ask).says(message)
    assert error_of(driven) == error
    assert driven.machine.str_extra() == error
    assert driven.machine.sock is None
    assert driven.machine.stateinfo == ["Ask", "ErrorState"]


def test_fail_is_an_error_even_where_it_is_expected() -> None:
    class Lenient(OnePassState):
        expect = "FAIL"
        nextState = Final

    assert error_of(Driven(Lenient).says("FAIL(x)")) == "FAIL(x)"


def test_info_is_stored_before_answers_are_taken() -> None:
    told: list[dict[str, Any]] = []

    class Watching(Ask):
        def info_updated(self) -> None:
            told.append(dict(self.info))

    driven = Driven(Watching).says("INFO:a:1", "OK:HELLO", "INFO:b:2:3", "INFO:a:4")
    assert told == [{"a": "4", "b": "2:3"}]
    assert driven.at == "Final"


def test_what_info_messages_may_fill_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 1200)
    monkeypatch.setattr(info, "MAX_INFO", 5)
    driven = Driven(Ask)
    for number in range(50):
        driven.says(f"INFO:progress:{number:900}")  # replaces the previous one
    assert driven.at == "Ask"
    assert "by INFO" in error_of(driven.says(f"INFO:more:{'x' * 900}"))
    names = Driven(Ask).says(*(f"INFO:{number}:x" for number in range(5)))
    assert names.at == "Ask"
    assert "5 names by INFO" in error_of(names.says("INFO:5:x", "INFO:6:x"))


def test_memory_that_info_takes_is_counted_and_not_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 4000)
    assert Driven(Ask).says("INFO:a:" + "x" * 3000).at == "Ask"
    assert "by INFO" in error_of(Driven(Ask).says("INFO:a:\N{GRINNING FACE}" + "x" * 1500))


def test_info_that_a_script_has_replaced_is_bounded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 1000)
    driven = Driven(Ask)
    driven.machine.info = {"own": 1}
    driven.says("INFO:a:1")
    assert driven.machine.info == {"own": 1, "a": "1"}
    assert "by INFO" in error_of(driven.says("INFO:b:" + "x" * 1000))


def test_of_a_long_failure_no_more_is_decoded_than_is_kept() -> None:
    text = "\N{GRINNING FACE}b" + "x" * 300_000 + "e\N{GRINNING FACE}"
    error = ErrorState(MachineState(SocketNB(socket.socketpair()[0])), f"FAIL({text})".encode()).err
    begin, middle, end = error.split("\n")
    assert (begin[:7], end[-3:]) == ("FAIL(\N{GRINNING FACE}b", "e\N{GRINNING FACE})")
    assert (len(begin), len(end)) == (texts.ERROR_BEGINNING, texts.ERROR_END)
    left_out = len(f"FAIL({text})") - len(begin) - len(end)
    assert middle == f"... ({left_out} bytes left out)"


def test_want_of_memory_ends_its_own_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(Ask)

    def to_text(message: bytes) -> str:
        raise MemoryError

    driven.worker.enqueue("OK:HELLO")
    driven.worker.do_write()
    driven.machine = driven.machine.do_read()
    monkeypatch.setattr(machine_code, "to_text", to_text)
    driven.machine = handled(driven.machine)
    assert error_of(driven) == "there is not enough memory for its messages"
    assert not driven.machine.waiting


def test_looking_again_at_messages_that_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each accepted message causes all waiting ones to be offered again; with thousands, each takes some
    milliseconds."""
    monkeypatch.setattr(machine_code, "MAX_OFFERED", 1000 * machine_code.OFFER)
    offered = 0

    class Twice(ForLoopState):
        expect = None
        iterFin = 10_000

    class Round(OnePassState):
        expect = "OK:ROUND"
        nextState = Twice

    Twice.loopState = Round

    class Both(SuperpositionState):
        state_constructors = (Twice,)

        def transition(self, msg: str) -> MachineState:
            nonlocal offered
            offered += 1
            return super().transition(msg)

    few = Driven(Both).says(*["OK:OTHER"] * 10, *["OK:ROUND"] * 50)
    assert few.at == "Both"
    offered = 0
    many = Driven(Both).says(*["OK:OTHER"] * 100)
    with suppress(ConnectionError):  # the machine closes the connection before it has read everything
        many.says(*["OK:ROUND"] * 700)
    assert "messages that no state expects" in error_of(many)
    assert offered < 1300


def test_a_message_that_waits_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not offered again for each later message: 2,000 single messages are offered 2,000 times in all."""
    offered = 0

    class Watches(InfoWatcherState):
        def transition(self, msg: str) -> MachineState:
            nonlocal offered
            offered += 1
            return super().transition(msg)

    driven = Driven(Watches)
    for _ in range(2000):
        driven.says("OK:x")
    assert offered == 2000
    assert driven.machine._refused_bytes == 2000 * 4


@pytest.mark.parametrize("answer", ["OK:RETVAL(7):OUTPUT({}):COMMAND(./encode)", "FAIL({})", "{}"])
def test_a_long_error_keeps_its_beginning_and_its_end(answer: str) -> None:
    """A failed part keeps a few kilobytes, however long its error is."""
    output = "".join(f"line {number} \N{GRINNING FACE}\n" for number in range(100_000))
    kept = ErrorState(Driven(Ask).machine, answer.format(output)).err
    assert len(kept) < texts.ERROR_BEGINNING + texts.ERROR_END + 100
    said = explain(kept)
    assert "line 99999" in said
    assert ("exit status 7" in said and "./encode" in said) == answer.startswith("OK:")


@pytest.mark.parametrize("waiting", [[], ["OK:GET(1)"]])
def test_a_worker_that_goes_away_is_an_error(waiting: list[str]) -> None:
    class First(Ask):
        nextState = listing(["set:a:1", "set:b:1"])

    driven = Driven(First)
    for message in waiting:
        driven.says("OK:HELLO", message)
    assert error_of(driven.hangs_up()) == "the worker closed the connection"


def test_what_came_before_the_close_still_counts() -> None:
    driven = Driven(Ask)
    driven.worker.sock.send(b"000000000008 OK:HELLO")  # type: ignore[union-attr]
    driven.hangs_up()
    assert driven.at == "Final"


def test_garbage_on_the_wire_ends_that_machine() -> None:
    driven = Driven(Ask)
    driven.worker.sock.send(b"GET / HTTP/1.1\r\n\r\n")  # type: ignore[union-attr]
    driven.move()
    assert "bad message header" in error_of(driven)


class Raising(MachineState):
    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        raise ValueError("not today")


class Halfway(MachineState):
    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        pass


def leads_to(target: Any) -> type[OnePassState]:
    class Leading(Ask):
        def post_transition(self) -> Any:
            return target(self) if callable(target) else target

    return Leading


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (type("A", (Ask,), {"nextState": Raising}), "A: Raising: ValueError: not today"),
        (type("B", (Ask,), {"nextState": None}), "B.nextState is None, not a state class"),
        (type("C", (Ask,), {"nextState": staticmethod(lambda _: 3)}), "made 3, which is not a state"),
        (leads_to(5), "Leading.post_transition returned 5, which is not a state"),
        (leads_to(None), "Leading.post_transition returned None"),
        (leads_to(lambda state: state.missing), "Leading: post_transition: AttributeError"),
        (leads_to(lambda state: int("x")), "Leading: post_transition: ValueError"),
        (type("D", (Ask,), {"command": "\ud83d"}), "D: a message holds '\\ud83d', which is no character"),
        (
            type("E", (Ask,), {"nextState": Halfway}),
            "E: Halfway does not call super().__init__(prevState, actorNum)",
        ),
        (type("D", (Ask,), {"command": 3}), "D.command is 3, neither text nor None"),
    ],
)
def test_mistakes_in_states_are_told_with_the_name_of_the_class(first: Any, error: str) -> None:
    assert error in error_of(Driven(first).says("OK:HELLO"))


def test_a_state_may_choose_what_follows_it_when_it_is_made() -> None:
    class Choosing(Ask):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.nextState = Chosen

    class Chosen(Ask):
        pass

    assert Driven(Choosing).says("OK:HELLO").at == "Chosen"


def test_what_names_the_next_state_may_be_a_function_a_method_or_a_property() -> None:
    class Function(Ask):
        nextState = lambda prev: Final(prev)  # noqa: E731

    class Method(Ask):
        def nextState(self, prev: MachineState) -> MachineState:  # type: ignore[override]
            return Final(prev)

    class Property(Ask):
        @property
        def nextState(self) -> Any:  # type: ignore[override]
            return Final

    for first in (Function, Method, Property):
        assert Driven(first).says("OK:HELLO").at == "Final"


def test_a_state_may_shorten_its_lists() -> None:
    class Short(CommandListState):
        commandlist = ("echo:a", "echo:b")

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            del self.commands[1:], self.expects[1:]

    driven = Driven(Short).says("OK:HELLO")
    assert (driven.took, driven.at) == (["echo:a"], "TerminalState")

    class Whole(CommandListState):
        commandlist = Short.commandlist

    assert Driven(Whole).says("OK:HELLO", "OK:ECHO(a)").took == ["echo:a", "echo:b"]


def test_a_machine_that_never_waits_is_stopped() -> None:
    class Spin(OnePassState):
        pass

    Spin.nextState = Spin
    assert error_of(Driven(Spin)).startswith("Spin: 100000 transitions without waiting for the worker (")


def test_a_message_that_is_not_mine_yet_keeps_its_place() -> None:
    class Picky(MachineState):
        def transition(self, msg: str) -> MachineState:
            if not msg.startswith("OK:SECOND"):
                raise ValueError("later")
            self.messages.append(msg)
            return listing([("OK:FIRST", "one"), ("OK:THIRD", "three")])(self)

    driven = Driven(Picky).says("OK:FIRST", "OK:THIRD")
    assert (driven.at, driven.took) == ("Picky", [])
    driven.says("OK:SECOND")
    assert (driven.at, driven.took) == ("Final", ["one", "three"])


def test_messages_that_nobody_takes_are_bounded() -> None:
    class Never(MachineState):
        def transition(self, msg: str) -> MachineState:
            raise ValueError

    driven = Driven(Never)
    for _ in range(MAX_WAITING // 1000):
        driven.says(*["OK:X"] * 1000)
    assert driven.at == "Never"
    assert "messages that no state expects" in error_of(driven.says("OK:X"))


def test_messages_that_nobody_takes_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "MAX_WAITING_BYTES", 1000)
    driven = Driven(superposition(expecting("OK:A"))).says("x" * 500, "y" * 500)
    assert driven.at == "Both"
    assert "3 messages that no state expects" in error_of(driven.says("z"))


def test_a_message_is_offered_to_a_state_once_until_something_changes() -> None:
    offered: list[str] = []

    class Patient(MachineState):
        def transition(self, msg: str) -> MachineState:
            offered.append(msg)
            if msg == "OK:TAKE":
                return self
            raise ValueError

    driven = Driven(Patient)
    for text in "ABC":
        driven.says(f"OK:{text}")
    assert offered == ["OK:A", "OK:B", "OK:C"]
    driven.says("OK:TAKE")
    assert offered[3:] == ["OK:TAKE", "OK:A", "OK:B", "OK:C"]
    driven.says("INFO:key:value")
    assert offered[7:] == ["OK:A", "OK:B", "OK:C"]


def test_a_state_may_take_what_comes_next_itself() -> None:
    class Both(OnePassState):
        expect = "OK:A"
        nextState = Final

        def post_transition(self) -> MachineState:
            self.messages.append(self.dequeue())
            self.info["took"] = self.messages
            return super().post_transition()

    driven = Driven(Both).says("OK:A", "OK:B")
    assert (driven.at, driven.machine.info["took"]) == ("Final", ["OK:A", "OK:B"])
    assert Driven(Both).says("OK:A").machine.info["took"] == ["OK:A", None]


@pytest.mark.parametrize(
    ("err", "text"), [(OSError("disk full"), "OSError: disk full"), (None, ""), (7, "7"), ("why", "why")]
)
def test_an_error_is_text_whatever_it_was_made_from(err: Any, text: str) -> None:
    class Failing(OnePassState):
        def post_transition(self) -> MachineState:
            return ErrorState(self, err)

    driven = Driven(Failing)
    assert error_of(driven) == described(driven.machine) == text
    assert isinstance(driven.machine, ErrorState)
    assert driven.machine.failed_in == "Failing"


def test_an_error_state_of_ones_own_need_not_be_made_in_full() -> None:
    class Own(ErrorState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            TerminalState.__init__(self, prevState, actorNum)

    made = Driven(leads_to(Own)).says("OK:HELLO").machine
    assert isinstance(made, Own)
    assert (described(made), made.failed_in) == ("", "?")


def test_terminal_states_stay_and_send_what_waits() -> None:
    driven = Driven(listing([("OK:HELLO", "quit:")])).says("OK:HELLO")
    assert (driven.at, driven.took) == ("Final", ["quit:"])
    driven.says("FAIL(too late)", "INFO:x:y")
    driven.hangs_up()
    assert (driven.at, driven.machine.stateinfo) == ("Final", ["Listing", "Final"])


# OnePassState, IfElseState


def test_one_pass_without_command_or_expectation() -> None:
    class Silent(OnePassState):
        expect = "OK"
        nextState = Final

    class Kick(OnePassState):
        command = "now:"
        nextState = Silent

    driven = Driven(Kick)
    assert (driven.at, driven.took) == ("Silent", ["now:"])
    driven.says("OK")
    assert (driven.at, driven.took) == ("Final", [])


@pytest.mark.parametrize(("answer", "where"), [("OK:GET(1)", "Yes"), ("OK:GET(2)", "No")])
def test_if_else(answer: str, where: str) -> None:
    class Yes(TerminalState):
        pass

    class No(TerminalState):
        pass

    class Choose(IfElseState):
        expect = "OK:GET"
        command = "echo:chosen"
        consequentState = Yes
        alternativeState = No

        def testfn(self) -> bool:
            return self.messages[-1] == "OK:GET(1)"

    driven = Driven(Choose).says(answer)
    assert (driven.at, driven.took) == (where, ["echo:chosen"])


# MultiPassState, CommandListState


def test_multi_pass() -> None:
    class Passes(MultiPassState):
        expects: ClassVar = ["OK:HELLO", None, None, "OK:B", "OK:C", None]
        commands: ClassVar = ["a", "b", None, None, "c", "d"]
        nextState = Final

    driven = Driven(Passes)
    assert driven.took == []
    driven.says("OK:HELLO")
    assert (driven.took, driven.machine.cmdNum) == (["a", "b"], 3)  # type: ignore[attr-defined]
    driven.says("OK:B")
    assert driven.took == []
    assert driven.machine.messages == ["OK:HELLO", "OK:B"]
    driven.says("OK:C")
    assert (driven.took, driven.at) == (["c", "d"], "Final")


@pytest.mark.parametrize(
    ("entries", "steps"),
    [
        # each step: the worker's message, and the commands sent then
        (["set:a:1", "set:b:2"], [("OK:HELLO", ["set:a:1"]), ("OK:SET(a)", ["set:b:2"])]),
        ([("OK:HELLO", "run:x"), "upload:"], [("OK:HELLO", ["run:x"]), ("OK:RETVAL(0)", ["upload:"])]),
        ([(None, "a"), (None, "b"), "c"], [(None, ["a", "b"]), ("OK", ["c"])]),
        (["retrieve:", None], [("OK", ["retrieve:"]), ("OK:RETRIEVE(x)", [])]),
        (["run:", None, None], [("OK", ["run:"]), ("OK:RUNNING(x)", []), ("OK:RETVAL(0)", [])]),
        (["run:", ("OK:RETVAL(0)", None)], [("OK", ["run:"]), ("OK:RETVAL(0)", [])]),
        (["run:", None, "quit:"], [("OK", ["run:"]), ("OK:RUNNING", []), ("OK:RETVAL(0)", ["quit:"])]),
        ([], [(None, [])]),
    ],
)
def test_command_lists(entries: list[Any], steps: list[tuple[str | None, list[str]]]) -> None:
    driven = Driven(listing(entries))
    for number, (message, sent) in enumerate(steps):
        if message is not None:
            assert driven.at == "Listing", f"left before step {number}"
            driven.says(message)
        assert driven.took == sent
    assert driven.at == "Final"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["set:a:1", "set:b:2"], "OK:GET(a)"),
        (["run:x", ("OK:RETVAL(0)", None)], "OK:RETVAL(1):OUTPUT():COMMAND(x)"),
        (["run:x", "upload:"], "OK:RETVAL(1):OUTPUT():COMMAND(x)"),
        (["run:x", None], "OK:RETVAL(-9):OUTPUT():COMMAND(x)"),
        (["retrieve:", "run:"], "OK:UPLOAD(x)"),
    ],
)
def test_a_wrong_answer_in_a_command_list(entries: list[Any], message: str) -> None:
    assert error_of(Driven(listing(entries)).says("OK", message)) == message


@pytest.mark.parametrize(
    ("second", "answers"),
    [
        ("upload:", ["OK:RETVAL(0):OUTPUT():COMMAND(x)"]),
        ("upload:", ["OK:RUNNING(x)"]),  # in background mode the early answer is enough
        (("OK:RETVAL", "upload:"), ["OK:RETVAL(1):OUTPUT():COMMAND(x)"]),
        (("OK:R", "upload:"), ["OK:RETVAL(1):OUTPUT():COMMAND(x)"]),
    ],
)
@pytest.mark.parametrize("pipelined", [False, True])
def test_a_program_that_has_failed_is_taken_where_it_says_so(
    second: Any, answers: list[str], pipelined: bool
) -> None:
    driven = Driven(listing([(None, "run:x"), second], pipelined=pipelined)).says(*answers)
    assert (driven.took, driven.at) == (["run:x", "upload:"], "Final")


def test_commands_are_formatted_for_each_machine() -> None:
    class Named(CommandListState):
        commandlist: ClassVar = ["set:a:{0}", None, (None, "echo:{0}")]
        nextState = Final

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.commands = [None if c is None else c.format(actorNum) for c in self.commands]

    for number in (1, 2):
        driven = Driven(Named, number).says("OK", "OK:SET")
        assert driven.took == [f"set:a:{number}", f"echo:{number}"]
    assert Named.commandlist[0] == "set:a:{0}"


@pytest.mark.parametrize(
    ("entries", "sent", "answers"),
    [
        ([("OK:HELLO", "set:a:1"), "set:b:1", "run:", None], 3, ["OK:SET", "OK:SET", "OK:RETVAL(0)"]),
        ([("OK:HELLO", "set:a:1"), "set:b:1", "run:"], 3, ["OK:SET", "OK:SET"]),
        ([("OK:HELLO", "set:a:1"), (None, "quit:"), "x:"], 3, ["OK"]),
        ([("OK:HELLO", "only:")], 1, []),
    ],
)
def test_pipelined(entries: list[Any], sent: int, answers: list[str]) -> None:
    driven = Driven(listing(entries, pipelined=True))
    assert driven.took == []
    driven.says("OK:HELLO")
    assert len(driven.took) == sent
    for answer in answers:
        assert driven.at == "Listing"
        driven.says(answer)
    assert driven.at == "Final"


def test_a_pipelined_list_may_begin_at_once_and_needs_a_command() -> None:
    driven = Driven(listing([(None, "a"), "b"], pipelined=True))
    assert driven.took == ["a", "b"]
    with pytest.raises(mu.MuError, match=r"Listing\.commandlist is pipelined and has no command"):
        Driven(listing([("OK", None)], pipelined=True))


# ForLoopState


def loop(init: int, fin: int, **attributes: Any) -> type[ForLoopState]:
    class Body(CommandListState):
        commandlist: ClassVar = [(None, "i:{0}"), ("OK", None)]

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.commands = [c and c.format(self.info["i"]) for c in self.commands]

    members = {"iterKey": "i", "iterInit": init, "iterFin": fin, "loopState": Body, "exitState": Final}
    made = type("Loop", (ForLoopState,), members | attributes)
    Body.nextState = made
    return made


@pytest.mark.parametrize(
    ("init", "fin", "in_constructor", "break_in", "rounds", "after"),
    [
        (0, 3, {}, None, [0, 1, 2], 2),
        (2, 4, {}, None, [2, 3], 3),
        (0, 1, {}, None, [0], 0),
        (-1, 1, {}, None, [-1, 0], 0),
        # no rounds: the counter stays one before the start
        (0, 0, {}, None, [], -1),
        (5, 2, {}, None, [], 4),
        (3, 3, {}, None, [], 2),
        # left early: the counter is that of the round that left the loop
        (0, 5, {}, 0, [0], 0),
        (0, 5, {}, 2, [0, 1, 2], 2),
        (0, 3, {}, 2, [0, 1, 2], 2),
        (2, 9, {}, 3, [2, 3], 3),
        # bounds that a constructor sets after its parent's constructor: a new end counts, a new start does not
        (0, 0, {"iterInit": 1, "iterFin": 3}, None, [0, 1, 2], 2),
        (0, 9, {"iterFin": 2}, None, [0, 1], 1),
        (4, 9, {"iterInit": 0}, None, [4, 5, 6, 7, 8], 8),
        (0, 9, {"iterFin": 0}, None, [], -1),
        (0, 0, {"iterInit": 1, "iterFin": 3}, 1, [0, 1], 1),
    ],
)
def test_for_loop(
    init: int, fin: int, in_constructor: dict[str, int], break_in: int | None, rounds: list[int], after: int
) -> None:
    base = loop(init, fin)

    class Bounded(base):  # type: ignore[valid-type,misc]
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            vars(self).update(in_constructor)

    base.loopState.nextState = Bounded  # type: ignore[attr-defined]
    driven = Driven(Bounded)
    seen = []
    while driven.at == "Body":
        seen.append(driven.machine.info["i"])
        assert driven.took == [f"i:{seen[-1]}"]
        if seen[-1] == break_in:
            driven.machine.info["_loop_break"] = True
        driven.says("OK")
    assert (seen, driven.at, driven.machine.info) == (rounds, "Final", {"i": after})


def test_the_counter_can_be_read_in_the_loops_own_constructor() -> None:
    base, seen = loop(0, 2), []

    class Looking(base):  # type: ignore[valid-type,misc]
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            seen.append(self.info["i"])

    base.loopState.nextState = Looking  # type: ignore[attr-defined]
    assert Driven(Looking).says("OK", "OK").at == "Final"
    assert seen == [-1, 0, 1]


def test_a_loop_can_be_entered_again() -> None:
    made = loop(0, 2)
    driven = Driven(made).says("OK", "OK")
    for _ in range(2):
        driven.machine = made(driven.machine)
        driven.move()
        assert driven.machine.info["i"] == 0
        driven.says("OK", "OK")
        assert (driven.at, driven.machine.info) == ("Final", {"i": 1})


def test_a_nested_loop_with_the_outer_ones_break_key_is_told() -> None:
    outer, inner = loop(0, 2), loop(0, 2, iterKey="j")
    outer.loopState.nextState = inner  # type: ignore[attr-defined]
    assert "another loop has the same breakKey '_loop_break'" in error_of(Driven(outer).says("OK"))


def test_a_broken_loop_can_be_entered_again() -> None:
    made = loop(0, 10)
    driven = Driven(made).says("OK")
    driven.machine.info["_loop_break"] = True
    driven.says("OK")
    assert driven.at == "Final"
    again = made(driven.machine).do_handle()
    assert again.info["i"] == 0


def test_a_loop_that_is_broken_before_it_is_entered_is_passed_over() -> None:
    class Before(OnePassState):
        def post_transition(self) -> MachineState:
            self.info["_loop_break"] = True
            return loop(0, 10)(self)

    driven = Driven(Before)
    assert (driven.at, driven.took) == ("Final", [])
    assert "_loop_break" not in driven.machine.info


def test_the_end_of_a_loop_can_be_set_by_its_constructor() -> None:
    base = loop(0, 0)

    class Longer(base):  # type: ignore[valid-type,misc]
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.iterFin = 2

    base.loopState.nextState = Longer  # type: ignore[attr-defined]
    assert Driven(Longer).says("OK", "OK").at == "Final"


def test_nested_loops() -> None:
    outer = loop(0, 3)
    inner = loop(0, 2, iterKey="j", breakKey="break_j", exitState=outer)
    inner.loopState.commandlist = [(None, "j:{0}"), ("OK", None)]  # type: ignore[attr-defined]
    inner.loopState.__init__ = lambda self, prev, num=0: CommandListState.__init__(self, prev, num)  # type: ignore[method-assign,misc]
    outer.loopState.nextState = inner  # type: ignore[attr-defined]
    driven = Driven(outer)
    for _ in range(3 + 3 * 2):
        assert driven.at == "Body"
        driven.says("OK")
    assert driven.at == "Final"


# SuperpositionState, InfoWatcherState


def superposition(*constructors: Any, following: Any = Final) -> type[SuperpositionState]:
    return type(
        "Both", (SuperpositionState,), {"state_constructors": list(constructors), "nextState": following}
    )


def expecting(text: str, command: str | None = None) -> type[OnePassState]:
    return type(f"On{text[3:]}", (OnePassState,), {"expect": text, "command": command, "nextState": Final})


@pytest.mark.parametrize("order", [["OK:A", "OK:B"], ["OK:B", "OK:A"]])
def test_superposition_takes_answers_in_any_order(order: list[str]) -> None:
    driven = Driven(superposition(expecting("OK:A", "a"), expecting("OK:B", "b")))
    driven.says(order[0])
    assert (driven.at, driven.took) == ("Both", [order[0][3:].lower()])
    driven.says(order[1])
    assert (driven.at, driven.took) == ("Final", [order[1][3:].lower()])


def test_superposition_gives_a_message_to_the_first_that_expects_it() -> None:
    driven = Driven(superposition(expecting("OK", "first"), expecting("OK:A", "second")))
    driven.says("OK:A")
    assert driven.took == ["first"]
    driven.says("OK:A")
    assert (driven.took, driven.at) == (["second"], "Final")


def test_superposition_keeps_what_none_expects_for_the_state_after_it() -> None:
    both = superposition(expecting("OK:A"), expecting("OK:B"), following=expecting("OK:LATER", "later"))
    driven = Driven(both).says("OK:LATER", "OK:B")
    assert (driven.at, driven.took) == ("Both", [])
    driven.says("OK:A")
    assert (driven.at, driven.took) == ("Final", ["later"])


def test_superpositions_nest() -> None:
    inner = superposition(expecting("OK:A", "a"), expecting("OK:B", "b"))
    driven = Driven(superposition(inner, expecting("OK:C", "c"))).says("OK:C", "OK:B", "OK:A")
    assert (driven.at, driven.took) == ("Final", ["c", "b", "a"])


def test_an_error_in_a_superposition_is_the_whole_ones() -> None:
    bad = type("Bad", (OnePassState,), {"expect": "OK:A", "nextState": None})
    driven = Driven(superposition(expecting("OK:B"), bad)).says("OK:A")
    assert "Bad.nextState is None" in error_of(driven)
    assert error_of(Driven(superposition(Ask, Ask)).says("FAIL(x)")) == "FAIL(x)"


def test_kicks_in_a_superposition() -> None:
    kick = type("Kick", (OnePassState,), {"command": "now:", "nextState": expecting("OK:A")})
    driven = Driven(superposition(kick, kick))
    assert driven.took == ["now:", "now:"]
    assert driven.says("OK:A", "OK:A").at == "Final"
    assert Driven(superposition()).at == "Final"


def test_an_info_watcher_waits_for_its_key() -> None:
    class Ready(InfoWatcherState):
        command = "go:"
        nextState = Final

        def info_updated(self) -> MachineState:
            return super().info_updated() if "ready" in self.info else self

    driven = Driven(superposition(Ready, expecting("OK:A")))
    driven.says("OK:A", "INFO:other:1")
    assert (driven.at, driven.took) == ("Both", [])
    driven.says("INFO:ready:1")
    assert (driven.at, driven.took) == ("Final", ["go:"])


@pytest.mark.parametrize("outer", [False, True], ids=["alone", "in another"])
def test_what_an_info_releases_goes_on_at_once(outer: bool) -> None:
    watcher = type("Watcher", (InfoWatcherState,), {"nextState": expecting("OK:B", "b")})
    kick = type("Kick", (OnePassState,), {"command": "go:", "nextState": expecting("OK:C", "c")})
    released = type("Released", (InfoWatcherState,), {"nextState": kick})
    both = superposition(released, watcher)
    driven = Driven(superposition(both) if outer else both)
    assert driven.says("INFO:a:1").took == ["go:"]
    assert driven.says("OK:C", "OK:B").took == ["c", "b"]
    assert driven.at == "Final"


class Watching(InfoWatcherState):
    command = "go:"
    nextState = Ask


def silent(self: Any) -> None:
    Watching.info_updated(self)


def kicking(self: Any) -> None:
    if "key" in self.info:
        self.kick()


def both_ways(self: Any) -> None:
    self.kick()
    Watching.info_updated(self)
    self.kick()


def stays_at_first(self: Any) -> Any:
    Watching.info_updated(self)
    return self if self.info["key"] == "1" else None


@pytest.mark.parametrize("info_updated", [silent, kicking, both_ways, stays_at_first])
@pytest.mark.parametrize("together", [False, True])
def test_an_info_watcher_goes_on_once_whatever_its_method_returns(info_updated: Any, together: bool) -> None:
    watcher = type("Watcher", (Watching,), {"info_updated": info_updated})
    driven = Driven(superposition(watcher, expecting("OK:Z")) if together else watcher)
    assert driven.took == []
    for number in (1, 2, 3):
        driven.says(f"INFO:key:{number}")
    assert driven.took == ["go:"]
    here = driven.machine.states[0] if together else driven.machine  # type: ignore[attr-defined]
    assert type(here) is Ask
    assert driven.says("OK:HELLO").took == ["get:x"]


def test_what_the_parents_info_updated_made_is_what_follows() -> None:
    made = []

    class Marking(Watching):
        def info_updated(self) -> None:
            made.append(super().info_updated())

    driven = Driven(Marking).says("INFO:a:b")
    assert [driven.machine] == made
    assert driven.machine.stateinfo == ["Marking", "Ask"]


# prevState


def test_every_state_has_the_one_before_it() -> None:
    class Last(CommandListState):
        commandlist: ClassVar = [(None, "echo:{0}"), ("OK:ECHO", None)]
        nextState = Final

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            assert self.prevState is not None
            self.commands = [c and c.format(self.prevState.messages[-1]) for c in self.commands]

        def post_transition(self) -> MachineState:
            assert self.prevState is not None
            self.info["before"] = self.prevState.messages[-1]
            return super().post_transition()

    class First(Ask):
        nextState = Last

    driven = Driven(First)
    assert driven.machine.prevState is None
    driven.says("OK:HELLO 7")
    assert driven.took == ["get:x", "echo:OK:HELLO 7"]
    driven.says("OK:ECHO(x)")
    assert driven.machine.info == {"before": "OK:HELLO 7"}
    assert isinstance(driven.machine.prevState, Last)
    assert driven.machine.prevState.prevState is None  # a machine that has ended keeps one previous state


@pytest.mark.parametrize("first", [True, False], ids=["first", "after another"])
def test_sub_states_have_the_state_before_the_superposition(first: bool) -> None:
    found = []

    class Sub(Ask):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            found.append((self.prevState, self.actorNum, actorNum))
            self.info.setdefault("made", []).append(self)

    both = superposition(Sub, Sub)
    before = type("Before", (OnePassState,), {"expect": "OK:B", "nextState": both})
    driven = Driven(both if first else before, 5)
    driven.says("OK:B")
    previous = None if first else driven.machine.prevState
    assert found == [(previous, 5, 5)] * 2
    assert driven.machine.stateinfo[-3:] == ["Both", "Sub", "Sub"]
    assert driven.machine.info["made"] == driven.machine.states  # type: ignore[attr-defined]
    driven.says("INFO:k:v")
    assert {id(state.info) for state in driven.machine.states} == {id(driven.machine.info)}  # type: ignore[attr-defined]


def test_a_machine_that_goes_round_for_ever_keeps_a_bounded_chain() -> None:
    import gc

    class Round(ForLoopState):
        iterFin = 10_000

    class Turn(OnePassState):
        expect = "OK"
        nextState = Round

    Round.loopState, Round.exitState = Turn, Final
    driven = Driven(Round)
    longest = 0
    for _ in range(20):
        driven.says(*["OK"] * 400)
        length, state = 0, driven.machine
        while state.prevState is not None:
            length, state = length + 1, state.prevState
        assert length >= chain.KEPT_STATES
        longest = max(longest, length)
    assert longest <= 2 * chain.KEPT_STATES
    del state
    gc.collect()
    assert sum(type(each) in (Round, Turn) for each in gc.get_objects()) <= 2 * chain.KEPT_STATES + 1


def test_large_messages_are_not_kept_for_long() -> None:
    large = "OK" + "x" * (chain.KEPT_CHARACTERS + 1)

    class Third(OnePassState):
        expect = "OK"
        nextState = Final

    class Second(OnePassState):
        expect = "OK"
        nextState = Third

    class First(OnePassState):
        expect = "OK"
        nextState = Second

    driven = Driven(First).says(large)
    assert driven.machine.prevState is not None
    assert driven.machine.prevState.messages == [large]
    driven.says("OK")
    assert driven.machine.prevState.prevState is None
    assert Driven(Third).says(large).machine.prevState is None


# kick, get_expect, lists, and other names that scripts use


@pytest.mark.parametrize("kind", ["one", "list"])
def test_kick_in_a_constructor_goes_on_without_the_message(kind: str) -> None:
    class One(OnePassState):
        expect = "OK:NEVER"
        command = "told:{0}"
        nextState = Ask

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.kick()
            self.command = "told:it"

    class Several(CommandListState):
        commandlist: ClassVar = [("OK:NEVER", "told:it"), ("OK:A", None)]
        nextState = Ask

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.kick()

    driven = Driven(One if kind == "one" else Several)
    assert driven.took == ["told:it"]
    if kind == "list":
        assert driven.at == "Several"
        driven.says("OK:A")
    assert driven.at == "Ask"


@pytest.mark.parametrize(
    ("entries", "said", "messages"),
    [
        ([(None, "a:"), ("OK:B", None)], ["OK:B"], ["", "OK:B"]),
        ([(None, "a:"), (None, "b:"), ("OK:B", None)], ["OK:B"], ["", "OK:B"]),
        ([("OK:A", "a:"), (None, "b:"), ("OK:B", None)], ["OK:A", "OK:B"], ["OK:A", "OK:B"]),
        ([None, "b:", None], ["OK", "OK", "OK"], ["OK", "OK", "OK"]),
    ],
)
def test_what_a_command_list_keeps_of_messages(
    entries: list[Any], said: list[str], messages: list[str]
) -> None:
    assert Driven(listing(entries, following=Ask)).says(*said).machine.prevState.messages == messages  # type: ignore[union-attr]


def test_expects_and_commands_are_lists_of_the_states_own() -> None:
    class Passes(MultiPassState):
        expects = ("OK:A", "OK:B")  # type: ignore[assignment]
        commands = ("a:", "b:")  # type: ignore[assignment]
        nextState = Final

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.expects[0] = "OK:C"
            self.expects += ["OK:D"]
            self.commands.append("d:")

    for _ in range(2):
        assert Driven(Passes).says("OK:C", "OK:B", "OK:D").took == ["a:", "b:", "d:"]
    assert (MultiPassState.expects, MultiPassState.commands) == ([], [])


def test_an_error_state_takes_the_part_number_too() -> None:
    class Failing(OnePassState):
        def post_transition(self) -> MachineState:
            return ErrorState(self, "why", self.actorNum)

    assert error_of(Driven(Failing, 3)) == "why"
    mine, theirs = socket.socketpair()
    assert str(ErrorState(mine, "why", 3)) == "3:why"
    assert ErrorState(SocketNB(theirs), "why", 3).actorNum == 3


def test_the_base_classes_transition_can_be_called_by_super() -> None:
    class Counting(MachineState):
        def transition(self, msg: str) -> MachineState:
            following = super().transition(msg)
            return Final(self) if len(self.messages) == 2 else following

    driven = Driven(Counting).says("OK:A")
    assert (driven.at, driven.machine.messages) == ("Counting", ["OK:A"])
    assert driven.says("OK:B").at == "Final"
    assert error_of(Driven(Counting).says("FAIL(x)")) == "FAIL(x)"


def test_an_overridden_get_expect_is_asked() -> None:
    class Late(OnePassState):
        expect = "OK:NEVER"
        command = "late:"
        nextState = Final

        def get_expect(self) -> str:
            return "OK:LATE"

    class Either(OnePassState):
        command = "either:"
        expect = "OK:NEVER"
        nextState = Final

        def get_expect(self) -> list[str]:
            return ["OK:X", "OK:Y"]

    assert Driven(Late).says("OK:LATE").took == ["late:"]
    driven = Driven(superposition(superposition(Either), expecting("OK:A"), Late))
    assert driven.machine.get_expect() == ["OK:X", "OK:Y", "OK:A", "OK:LATE"]
    driven.says("OK:LATE", "OK:Y", "OK:A")
    assert (driven.took, driven.at) == (["late:", "either:"], "Final")


def test_an_exception_in_a_users_state_tells_file_and_line_and_is_final() -> None:
    class Wrong(Ask):
        def post_transition(self) -> MachineState:
            import json

            json.loads("{")
            return super().post_transition()

    failed = Driven(Wrong).says("OK:HELLO").machine
    assert isinstance(failed, ErrorState)
    line = Wrong.post_transition.__code__.co_firstlineno + 3
    assert failed.err.endswith(f" ({__file__}:{line})")
    assert failed.err.startswith("Wrong: post_transition: JSONDecodeError: ")
    assert failed.final
    made = Driven(type("A", (Ask,), {"nextState": Raising})).says("OK:HELLO").machine
    assert isinstance(made, ErrorState)
    assert made.err.endswith(f" ({__file__}:{Raising.__init__.__code__.co_firstlineno + 2})")
    assert made.final
    told = Driven(Ask).says("FAIL(x)").machine
    assert isinstance(told, ErrorState)
    assert not told.final


# What a failed machine says


def why(driven: Driven) -> str:
    assert isinstance(driven.machine, ErrorState)
    return failure_of(driven.machine).why


RAN = "OK:RETVAL({}):OUTPUT():COMMAND(x)"


@pytest.mark.parametrize(
    ("entries", "said", "text"),
    [
        ([(None, "upload:"), ("OK:UPLOADED", None)], "OK:UPLOAD(b/k)", "OK:UPLOAD(b/k); it expected 'OK:UPLOADED'"),
        ([(None, "a:"), ("OK:A\n" + "x" * 100, None)], "OK:B", r"OK:B; it expected 'OK:A\n" + "x" * 71 + "...'"),
        (["a:"], "no", "no; it expected 'OK'"),
        ([("OK:A", None)], 'OK:HELLO::{"memory": 1}', "OK:HELLO; it expected 'OK:A'"),
        ([(None, "run:x"), "quit:"], RAN.format(1), "exit status 1 from: x"),
        ([(None, "run:x"), ("OK:RETVAL(0)", None)], RAN.format(1), "exit status 1 from: x"),
        ([(None, "set:a:b"), None], RAN.format(0), "exit status 0 from: x; it expected 'OK:SET'"),
        ([(None, "set:a:b"), None], "FAIL(no)", "no"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_match_is_told_with_what_was_expected(
    entries: list[Any], said: str, text: str
) -> None:
    driven = Driven(listing(entries)).says(said)
    assert error_of(driven) == said
    assert why(driven) == text


IDLE = "FAIL(worker is about to reach its time limit in STATE idle)"


@pytest.mark.parametrize(
    ("first", "awaited"),
    [
        (listing([(None, "set:a:b"), None, None]), "Listing waits for 'OK:SET'"),
        (type("Sees", (InfoWatcherState,), {}), "Sees waits for an INFO message"),
        (type("Any", (MachineState,), {}), "Any waits for any message"),
    ],
)
def test_a_worker_that_had_nothing_to_do_is_told_with_what_is_waited_for(first: Any, awaited: str) -> None:
    driven = Driven(first).says("OK:SET(a)", IDLE)
    assert why(driven) == f"the worker had nothing to do until its time was over; {awaited}"


def test_of_several_machines_all_that_they_wait_for_is_told() -> None:
    driven = Driven(superposition(expecting("OK:A"), expecting("OK:B"))).says(IDLE)
    assert why(driven).endswith("; Both waits for 'OK:A' or 'OK:B'")


def test_a_worker_that_was_busy_needs_more_time() -> None:
    driven = Driven(listing([(None, "run:x"), None])).says(IDLE.replace("idle", "run:x"))
    assert why(driven).endswith(
        "in STATE run:x: raise it (Lambda: mu lambdaize --update NAME --timeout SECONDS, at most 900; "
        "Slurm: --engine-args --time=...; mu worker: --walltime)"
    )


@pytest.mark.parametrize("together", [False, True])
def test_a_value_error_that_keeps_a_message_waiting_is_told_when_the_part_fails(together: bool) -> None:
    class Parsing(OnePassState):
        expect = "OK"
        nextState = Final

        def transition(self, msg: str) -> MachineState:
            int(msg)
            return super().transition(msg)

    driven = Driven(superposition(Parsing, expecting("OK:Z")) if together else Parsing).says("OK:A", IDLE)
    line = Parsing.transition.__code__.co_firstlineno + 1
    assert why(driven).endswith(
        "; its transition refused a message: ValueError: invalid literal for int() with base 10: 'OK:A' "
        f"({__file__}:{line})"
    )
    assert error_of(driven) == IDLE


def test_a_refused_message_that_was_taken_later_is_not_told() -> None:
    class Patient(MachineState):
        def transition(self, msg: str) -> MachineState:
            self.messages.append(msg)
            if self.messages == ["OK:A"]:
                raise ValueError("not yet")
            return self

    driven = Driven(Patient).says("OK:A")
    assert driven.machine._refusal
    driven.says("INFO:a:b", "FAIL(no)")
    assert why(driven) == "no"


# Any machine, with the bytes cut anywhere


@st.composite
def machines(draw: st.DrawFn) -> list[type[CommandListState]]:
    answers = st.sampled_from(["OK:A", "OK:B", "OK", None])
    commands = st.sampled_from(["x:", "y:1", None])
    lists = draw(st.lists(st.lists(st.tuples(answers, commands), max_size=4), min_size=1, max_size=4))
    return [listing(list(entries)) for entries in lists]


@given(
    machines(),
    st.lists(st.sampled_from(["OK:A", "OK:B", "OK", "INFO:a:b", "FAIL(x)"]), max_size=12),
    st.sampled_from([1, 3, 17, 0]),
    st.booleans(),
)
def test_the_result_does_not_depend_on_how_bytes_are_cut(
    lists: list[type[CommandListState]], messages: list[str], cut: int, together: bool
) -> None:
    def run(cut: int) -> tuple[list[str], list[str], str]:
        for one, following in zip(lists, [*lists[1:], Final], strict=True):
            one.nextState = following
        first: Any = superposition(*lists) if together else lists[0]
        for one in lists if together else []:
            one.nextState = Final
        driven = Driven(first)
        driven.says(*messages, cut=cut)
        # How much a machine has sent before it fails depends on timing, so that is not compared; everything else is.
        sent = [] if isinstance(driven.machine, ErrorState) else driven.sent
        result = sent, driven.machine.stateinfo, str(driven.machine)
        driven.machine.close()
        driven.worker.close()
        return result

    assert run(cut) == run(0)
