"""The worker's command handler without a worker: the answers and effects of each command."""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from mu.handler import COMMANDS, MAX_OUTPUT, End, Handler, Reply, Reset, Work, expected_response
from mu.wire import protocol
from mu.wire.reasons import is_final
from mu.work.process import Groups
from mu.work.variables import DEFAULTS

T = "/tmp/lambda_x"


class Outside(SimpleNamespace):
    """The handler's surroundings; transfers are recorded, and raise `error` if it is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.transfers: list[tuple[Any, ...]] = []
        self.closed = 0
        self.sent: list[bytes] = []
        self.told: list[str] = []

        def transfer(*names: str) -> int:
            self.transfers.append(names)
            if error:
                raise error
            return 1234

        super().__init__(
            s3=SimpleNamespace(retrieve=partial(transfer, "retrieve"), upload=partial(transfer, "upload")),
            groups=Groups(),
            tell=self.told.append,
            state=SimpleNamespace(
                connected=False,
                lost="",
                lacks=lambda path: bool(path) and self.state.lost and not os.path.exists(path),
                failure=lambda: f"FAIL({self.state.lost})",
                close=self.close,
                send=self.sent.append,
                adopt=self.adopt,
            ),
        )
        self.error = error
        self.adopted: list[tuple[Any, str]] = []

    def close(self) -> None:
        self.closed += 1

    def adopt(self, sock: object, text: str) -> None:
        self.adopted.append((sock, text))

    def post(self, call: Any) -> None:
        call()

    def connect(self, host: str, port: int) -> str:
        if self.error:
            raise self.error
        return f"socket to {host} {port}"


def handler(outside: Outside | None = None, command: str = "echo packaged", **event: Any) -> Handler:
    return Handler(command, event, T, outside or Outside())  # type: ignore[arg-type]


def answer(reply: Reply) -> str:
    """Returns the final answer to a command."""
    if isinstance(reply, Work):
        return reply.job()
    assert isinstance(reply, list)
    return reply[-1]


@pytest.mark.parametrize(
    ("command", "prefix"),
    [
        ("set:a:b", "OK:SET"),
        ("seti:a:1", "OK:SETI"),
        ("get:a", "OK:GET"),
        ("geti:a", "OK:GETI"),
        ("dump_vals:", "OK:DUMP_VALS"),
        ("retrieve:", "OK:RETRIEV"),
        ("upload:a\0b", "OK:UPLOAD"),
        ("echo:x", "OK:ECHO"),
        ("run:./x", "OK:R"),
        ("connect:h:1:x", "OK:CONNECT"),
        ("close_connect:", "OK:CLOSE_CONNECT"),
        ("quit:", "OK"),
        ("whatever", "OK"),
        ("set", "OK:SET"),
        ("", "OK"),
        (None, "OK"),
    ],
)
def test_expected_response(command: str | None, prefix: str) -> None:
    assert expected_response(command) == prefix


@pytest.mark.parametrize(
    ("commands", "replies"),
    [
        (["set:K:V", "get:K"], ["OK:SET(K)", "OK:GET(V)"]),
        (["set:K:a:b:", "get:K"], ["OK:SET(K)", "OK:GET(a:b:)"]),
        (["seti:K: 4_2 ", "geti:K"], ["OK:SETI(K)", "INFO:K:42", "OK:GETI(K)"]),
        (
            ["seti:K:1", "seti:K:", "get:K"],
            ["OK:SETI(K)", "FAIL(could not interpret  as an integer)", "OK:GET(1)"],
        ),
        (["seti:K"], ["FAIL(invalid syntax for SET)"]),
        (["seti::1"], ["FAIL(invalid syntax for SET)"]),
        (["seti:K:1.5"], ["FAIL(could not interpret 1.5 as an integer)"]),
        (["seti:K:" + "9" * 5000], [f"FAIL(could not interpret {'9' * 5000} as an integer)"]),
        (["get:"], ["FAIL(no such variable )"]),
        (["echo:a\nb\udcff"], ["OK:ECHO(a\nb\udcff)"]),
        (["echo"], ["FAIL(no such command 'echo')"]),
        (["ECHO:x"], ["FAIL(no such command 'ECHO:x')"]),
        (["__init__:x"], ["FAIL(no such command '__init__:x')"]),
        (["handle:x"], ["FAIL(no such command 'handle:x')"]),
    ],
)
def test_variables(commands: list[str], replies: list[str]) -> None:
    made = handler()
    got: list[str] = []
    for command in commands:
        reply = made.handle(command)
        assert isinstance(reply, list)
        got += reply
    assert got == replies


def test_event_and_defaults_are_variables() -> None:
    made = handler(bucket="b", infile="i", nonblock=1, vars=["A=1"], quality=None)
    assert [answer(made.handle(f"get:{name}")) for name in ("bucket", "infile", "nonblock", "run_iter")] == [
        "OK:GET(b)",
        "OK:GET(i)",
        "OK:GET(1)",
        "OK:GET(0)",
    ]
    assert answer(made.handle("get:region")) == "OK:GET(us-east-1)"
    assert answer(made.handle("get:quality")) == "FAIL(no such variable quality)"


def test_keys_are_never_told() -> None:
    event = {name: f"the {name}" for name in ("cacert", "srvcrt", "srvkey")}
    made = handler(**event, bucket="b")
    for name in event:
        assert answer(made.handle(f"get:{name}")) == f"FAIL(no such variable {name})"
        assert answer(made.handle(f"geti:{name}")) == f"FAIL(no such variable {name})"
        assert made.handle(f"set:{name}:given anew") == [f"OK:SET({name})"]
    dump = answer(made.handle("dump_vals:"))
    assert dump.startswith("OK:DUMP_VALS:{")
    assert "'bucket': 'b'" in dump
    assert not any(text in dump for text in (*event, *event.values(), "given anew"))


@pytest.mark.parametrize(
    ("event", "command", "transfer", "early", "final"),
    [
        (
            {"bucket": "b"},
            "retrieve:k/x\0##TMPDIR##/f",
            ("retrieve", "us-east-1", "b", "k/x", f"{T}/f"),
            f"OK:RETRIEVING(b/k/x->{T}/f)",
            "OK:RETRIEVE(b/k/x)",
        ),
        (
            {"bucket": "b", "region": "eu-west-1", "inkey": "k", "targfile": "##TMPDIR##"},
            "retrieve:",
            ("retrieve", "eu-west-1", "b", "k", T),
            f"OK:RETRIEVING(b/k->{T})",
            "OK:RETRIEVE(b/k)",
        ),
        (
            {"bucket": "b", "outkey": 5, "fromfile": "./f"},
            "upload:",
            ("upload", "us-east-1", "b", "5", "./f"),
            "OK:UPLOADING(./f->b/5)",
            "OK:UPLOAD(b/5)",
        ),
        (
            {"bucket": "b", "hash_s3keys": 1},
            "upload:v/00000001.png\0##TMPDIR##/f",
            # printf 00000001.png | md5sum
            ("upload", "us-east-1", "b", "c124-v/00000001.png", f"{T}/f"),
            f"OK:UPLOADING({T}/f->b/c124-v/00000001.png)",
            "OK:UPLOAD(b/c124-v/00000001.png)",
        ),
    ],
)
def test_transfers(
    event: dict[str, Any], command: str, transfer: tuple[str, ...], early: str, final: str
) -> None:
    outside = Outside()
    made = handler(outside, **event)
    work = made.handle(command)
    assert isinstance(work, Work)
    assert (work.background, work.early) == (False, "")
    assert outside.transfers == []
    assert work.job() == final
    assert outside.transfers == [transfer]
    made.handle("seti:nonblock:1")
    work = made.handle(command)
    assert isinstance(work, Work)
    assert (work.background, work.early) == (True, early)
    made.handle("seti:bg_silent:1")
    work = made.handle(command)
    assert isinstance(work, Work)
    assert (work.background, work.early) == (True, "")


@pytest.mark.parametrize("wanted", [True, False])
def test_sizes_are_told_if_they_are_wanted(wanted: bool) -> None:
    outside = Outside()
    made = handler(outside, bucket="b", **({"tell_sizes": 1} if wanted else {}))
    assert answer(made.handle("retrieve:k\0f")) == "OK:RETRIEVE(b/k)"
    assert outside.told == ["INFO:mu.retrieved:1234"] * wanted
    assert answer(made.handle("upload:k\0f")) == "OK:UPLOAD(b/k)"
    assert outside.told[wanted:] == ["INFO:mu.uploaded:1234"] * wanted


def test_answers_to_transfers_have_the_size_if_that_is_wanted() -> None:
    made = handler(Outside(), bucket="b", tell_bytes=1)
    for command, beginning in (("retrieve:k\0f", "OK:RETRIEVE(b/k)"), ("upload:k\0f", "OK:UPLOAD(b/k)")):
        told = answer(made.handle(command))
        assert told == f"{beginning}:BYTES(1234)"
        assert protocol.bytes_moved(told) == 1234
    for other in (
        "OK:RETRIEVE(b/k)",
        "OK:RETRIEVE(b/:BYTES(x))",
        ":BYTES(",
        ":BYTES(1",
        "OK:UPLOAD(b/k):BYTES(-1)",
    ):
        assert protocol.bytes_moved(other) == 0


def test_a_transfer_that_fails_has_no_size() -> None:
    outside = Outside(ValueError("no"))
    made = handler(outside, bucket="b", tell_sizes=1)
    assert answer(made.handle("retrieve:k\0f")).startswith("FAIL(")
    assert outside.told == []


@pytest.mark.parametrize(
    ("event", "argument"),
    [
        ({}, "k\0f"),  # no bucket
        ({"bucket": "b"}, ""),
        ({"bucket": "b"}, "k"),
        ({"bucket": "b"}, "k\0"),
        ({"bucket": "b"}, "\0f"),
        ({"bucket": "b", "inkey": "k", "outkey": "k"}, ""),
        ({"bucket": "b", "targfile": "f", "fromfile": "f"}, ""),
    ],
)
def test_transfers_with_something_missing(event: dict[str, Any], argument: str) -> None:
    made = handler(nonblock=1, **event)
    for name, what in (("retrieve", "download"), ("upload", "upload")):
        hint = f": write {name}:KEY, NUL, FILE" if argument == "k" else ""
        reply = made.handle(f"{name}:{argument}")
        assert reply == [f"FAIL(could not compute {what} params{hint})"]
        assert is_final(str(reply[0])) == bool(hint)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory"), ValueError("a\nb")])
def test_transfers_that_fail(error: Exception) -> None:
    why = "no such file or directory" if isinstance(error, OSError) else "a b"
    made = handler(Outside(error), bucket="b")
    assert answer(made.handle("retrieve:k\0f")) == f"FAIL(retrieving b:k->f from s3: {why})"
    assert answer(made.handle("upload:k\0f")) == f"FAIL(uploading f->b:k to s3: {why})"


def test_run() -> None:
    made = handler(nonblock=1, cmdargs="x")
    work = made.handle("run:")
    assert isinstance(work, Work)
    assert (work.background, work.early) == (True, "OK:RUNNING(echo packaged x)")
    assert work.job() == "OK:RETVAL(0):OUTPUT(packaged x\n):COMMAND(echo packaged x)"


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("set:a:b", MAX_OUTPUT),
        ("seti:max_output:100", 100),
        ("set:max_output:100", 100),
        ("seti:max_output:-1", 0),
        ("set:max_output:much", MAX_OUTPUT),
        ("seti:max_output:99999999999", 32 << 20),  # half of the largest message
    ],
)
def test_output_is_kept_up_to_a_limit(setting: str, kept: int) -> None:
    made = handler()
    made.handle(setting)
    size = kept + 1000
    text = answer(made.handle(f"run:head -c {size} /dev/zero | tr '\\0' x"))
    output = text.removeprefix("OK:RETVAL(0):OUTPUT(").rpartition("):COMMAND(")[0]
    assert output == "x" * ((kept + 1) // 2) + "\n[1000 bytes left out]\n" + "x" * (kept // 2)


@pytest.mark.parametrize("command", ["a\0b", "echo \ud800", f": {'x' * (1 << 18)}"])
def test_a_command_that_cannot_be_started_has_an_answer(command: str) -> None:
    text = answer(handler().handle(f"run:{command}"))
    assert text.startswith("FAIL(could not run ")
    assert len(text) < 1000


def test_connect() -> None:
    outside = Outside()
    made = handler(outside, nonblock=1)
    work = made.handle("connect:relay:13337:HELLO_STATE:job:1:2")
    assert isinstance(work, Work)
    assert (work.background, work.early) == (False, "")  # the following command may need the connection
    assert work.job() == "OK:CONNECT(relay:13337:HELLO_STATE:job:1:2)"
    assert outside.adopted == [("socket to relay 13337", "HELLO_STATE:job:1:2")]
    assert answer(made.handle("connect:relay:1:")) == "OK:CONNECT(relay:1:)"
    assert answer(made.handle("connect:[::1]:2:x:y")) == "OK:CONNECT([::1]:2:x:y)"
    assert outside.adopted[1:] == [("socket to relay 1", ""), ("socket to ::1 2", "x:y")]
    outside.state.connected = True
    assert made.handle("connect:relay:13337:x") == ["FAIL(already connected)"]
    assert made.handle("close_connect:") == ["OK:CLOSE_CONNECT"]
    assert outside.closed == 1


@pytest.mark.parametrize("argument", ["", "bad", ":1:x", "h::x", "h:x:y", "h:-1:y", "h:\u0663:y", "h: 1:x"])
def test_connect_to_nowhere(argument: str) -> None:
    assert handler().handle(f"connect:{argument}") == ["FAIL(invalid syntax for CONNECT)"]


@pytest.mark.parametrize(
    ("error", "why"),
    [(ConnectionRefusedError(111, "Connection refused"), "connection refused"), (ValueError("port"), "port")],
)
def test_connect_that_fails(error: Exception, why: str) -> None:
    assert answer(handler(Outside(error)).handle("connect:h:1:x")) == f"FAIL(connecting to h:1: {why})"


def test_quit() -> None:
    assert isinstance(handler().handle("quit:"), End)
    assert isinstance(handler().handle("quit:now"), End)


def states(outside: Outside, directory: Path, **event: Any) -> Handler:
    outside.state.connected = True
    return Handler("", event, str(directory), outside)  # type: ignore[arg-type]


RUN = "run:echo xc-enc; echo state > ##TMPDIR##/final.state; echo ivf > ##TMPDIR##/output.ivf"


def test_a_background_run_that_made_a_state_keeps_and_sends_it(tmp_path: Path) -> None:
    outside = Outside()
    made = states(outside, tmp_path, nonblock=1, run_iter=2, send_statefile=1)
    (tmp_path / "0.state").touch()
    (tmp_path / "1.state").touch()
    work = made.handle(RUN)
    made.handle("seti:run_iter:3")  # the number of the next run
    assert answer(work).startswith("OK:RETVAL(0):OUTPUT(xc-enc\n)")
    assert [message[:9] for message in outside.sent] == [b"STATE(2):"]
    assert sorted(os.listdir(tmp_path)) == ["1.state", "final.state", "output.ivf", "prev.ivf"]
    assert (tmp_path / "prev.ivf").read_text() == "ivf\n"


@pytest.mark.parametrize(
    ("event", "command"),
    [
        ({"nonblock": 0, "send_statefile": 1}, RUN),
        ({"nonblock": 1, "send_statefile": 1}, f"{RUN}; false"),
        ({"nonblock": 1, "send_statefile": 1}, RUN.replace("xc-enc", "vpxenc")),
    ],
)
def test_other_runs_keep_no_state(event: dict[str, Any], command: str, tmp_path: Path) -> None:
    outside = Outside()
    answer(states(outside, tmp_path, **event).handle(command))
    assert outside.sent == []
    assert sorted(os.listdir(tmp_path)) == ["final.state", "output.ivf"]


@pytest.mark.parametrize(("event", "connected"), [({}, True), ({"send_statefile": 1}, False)])
def test_a_state_that_is_kept_and_not_sent(event: dict[str, Any], connected: bool, tmp_path: Path) -> None:
    outside = Outside()
    made = states(outside, tmp_path, nonblock=1, **event)
    outside.state.connected = connected
    assert answer(made.handle(RUN)).startswith("OK:RETVAL(0)")
    assert outside.sent == []
    assert (tmp_path / "prev.ivf").exists()


def test_a_state_that_cannot_be_sent_any_more_is_a_failure(tmp_path: Path) -> None:
    outside = Outside()
    made = states(outside, tmp_path, nonblock=1, send_statefile=1)
    outside.state.connected, outside.state.lost = False, "the peer has closed it"
    assert answer(made.handle(RUN)) == "FAIL(the peer has closed it)"


def test_a_run_whose_state_cannot_come_any_more_is_not_begun(tmp_path: Path) -> None:
    outside = Outside()
    made = states(outside, tmp_path, nonblock=1, expect_statefile=1, run_iter=1)
    work = made.handle("run:##INSTATEWAIT## cat")
    assert isinstance(work, Work)
    assert work.awaits == f"{tmp_path}/0.state"
    outside.state.connected, outside.state.lost = False, "the peer has closed it"
    assert made.handle("run:##INSTATEWAIT## cat") == ["FAIL(the peer has closed it)"]
    assert isinstance(made.handle("run:cat"), Work)
    (tmp_path / "0.state").touch()
    assert isinstance(made.handle("run:##INSTATEWAIT## cat"), Work)


def test_a_state_that_is_not_there_to_send_is_a_failure(tmp_path: Path) -> None:
    made = states(Outside(), tmp_path, nonblock=1, run_iter=1, send_statefile=1)
    assert (
        answer(made.handle("run:: xc-dump")) == "FAIL(keeping the state of run 1: no such file or directory)"
    )


def test_transfers_without_boto3() -> None:
    def retrieve(*_: str) -> NoReturn:
        raise ModuleNotFoundError("No module named 'boto3'")

    outside = Outside()
    outside.s3.retrieve = retrieve
    text = answer(handler(outside, bucket="b").handle("retrieve:k\0f"))
    assert text == "FAIL(retrieving b:k->f from s3: there is no boto3 here)"


def test_reset_is_for_the_loop_and_renew_brings_the_event_back() -> None:
    made = handler(infile="i")
    vals = made.vals
    made.handle("set:infile:x")
    made.handle("set:mine:x")
    assert isinstance(made.handle("reset:"), Reset)
    made.renew()
    assert made.vals is vals
    assert answer(made.handle("get:infile")) == "OK:GET(i)"
    assert answer(made.handle("get:mine")) == "FAIL(no such variable mine)"


def test_all_words_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "worker.md").read_text()
    exec_fields = [name for name in protocol.EXEC_FIELDS if name != "shell"]
    for name in (*DEFAULTS, *protocol.FACTS, *protocol.EXEC_RESULT, *exec_fields):
        assert f"`{name}`" in text, name
    for name in COMMANDS:
        assert f"`{name}:" in text, name
    assert set(protocol.EXPECTED) | {"quit"} == set(COMMANDS)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ('{"id":"7","timeout":0,"shell":"x"}', "FAIL(exec 7: timeout is no number of seconds above 0)"),
        ('{"id":"a b","shell":"x"}', "FAIL(exec: id is no text of up to 64 letters, digits and _.-)"),
        ("{", "FAIL(exec: the argument is no JSON object)"),
    ],
)
def test_a_bad_exec_is_told_apart_by_its_id(fields: str, told: str) -> None:
    assert handler(nonblock=1).handle(f"exec:{fields}") == [told]
