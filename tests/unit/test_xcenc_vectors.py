"""The examples send the same commands as the original's coordinators, to the same parts and in the same order."""

import importlib
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mu import ErrorState, JobError, server
from mu.machine import MachineState
from mu.server.script_runs import prepared
from tests.support.fake_workers import FakeWorker, obey

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "data"
TIMES = {  # the names of the parts' states, as in the original's -O file
    int(line.partition(":")[0]): line.split("'")[1::2]
    for line in (VECTORS / "times_xcenc_K4.txt").read_text().splitlines()
}


def answer(command: str) -> str | None:
    if command.startswith("connect:"):
        return f"OK:CONNECT({command.removeprefix('connect:')})"
    return obey(command)


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.delitem(importlib.sys.modules, name, raising=False)  # type: ignore[attr-defined]
    return importlib.import_module(name)


class Run:
    """An example's `main` with workers that connect one after the other; `sent` are the commands that they got."""

    def __init__(self, script: Any, *words: str, answers: Any = answer) -> None:
        self.event: dict[str, Any] = {}
        self.states: list[MachineState] = []
        self.workers: list[FakeWorker] = []
        self.error: JobError | None = None
        self.script = script
        self._answers = answers
        self._words = words

    def go(self, monkeypatch: pytest.MonkeyPatch) -> "Run":
        main_loop = server.server_main_loop
        read = server.options

        def options(info: Any) -> None:
            read(info, ["-t", "0", *self._words])
            info.cacert = None  # these workers speak plain TCP

        def launch(info: Any, event: dict[str, Any]) -> None:
            self.event = event
            self.port = prepared(info).port
            self._thread = threading.Thread(target=self._work, args=(info.num_parts,), daemon=True)
            self._thread.start()

        def loop(_states: list[Any], first: Any, info: Any) -> None:
            info.overprovision = 0
            main_loop(self.states, first, info)

        monkeypatch.setattr(server, "options", options)
        monkeypatch.setattr(server, "server_launch", launch)
        monkeypatch.setattr(server, "server_main_loop", loop)
        try:
            self.script.main()
        except JobError as error:
            self.error = error
        self._thread.join(300)
        return self

    def _work(self, number: int) -> None:
        for _ in range(number):
            worker = FakeWorker(self.port)
            self.workers.append(worker)
            worker.say("OK:HELLO")
            worker.hear()  # the worker has its part before the next one connects
        threads = [threading.Thread(target=self._serve, args=(worker,)) for worker in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self, worker: FakeWorker) -> None:
        command = worker.commands[0]
        while command is not None:
            reply = self._answers(command)
            if reply is not None:
                worker.say(reply)
            command = worker.hear()

    @property
    def sent(self) -> list[list[str | None]]:
        name = self.script.ServerInfo.__dict__.get("job_name", "?")
        return [
            [command and command.replace(name, "JOBNAME") for command in worker.commands[:-1]]
            for worker in self.workers
        ]


@pytest.mark.parametrize(
    ("name", "words", "recording"),
    [
        ("vpxenc_server", ["-n", "1"], "vpxenc"),
        ("xcenc_server", ["-n", "5", "-K", "4"], "xcenc_K4"),
        ("xcenc_server", ["-n", "5", "-K", "4", "-u"], "xcenc_K4_u"),
    ],
)
def test_what_the_original_sent(
    name: str, words: list[str], recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(example(name, monkeypatch), *words).go(monkeypatch)
    assert run.error is None
    # The recordings were made without `options`, which computes the name of the quality.
    text = (VECTORS / f"coordinator_{recording}.json").read_text().replace("_30_x/", "_30_x_k4/")
    recorded = json.loads(text)
    for sent, expected in zip(run.sent, recorded, strict=True):
        assert sent == expected


def test_what_the_original_sent_for_seven_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more commands check the overlap; the results go to another folder than the original's."""
    run = Run(example("xcenc7_server", monkeypatch), "-n", "5", "-K", "4").go(monkeypatch)
    assert run.error is None
    text = (VECTORS / "coordinator_xcenc7_K4.json").read_text().replace("/out_30_x/", "/out7_30_x_k4/")
    for sent, expected in zip(run.sent, json.loads(text), strict=True):
        part = int(expected[0].split(":")[5])
        if part % 4:
            left, check = sent[4:6]
            assert left == f"retrieve:sintel-1k-y4m_06/{part - 1:08d}.y4m\0##TMPDIR##/left.y4m"
            assert str(check).startswith('run:cd "##TMPDIR##" && ')
            del sent[4:6]
        assert sent == expected


SIX, LAST = b"".join(b"FRAME\n%d....." % number for number in range(6)), b"FRAME\n5....."


@pytest.mark.parametrize(
    ("left", "chunk", "status"),
    [
        (b"YUV4MPEG2 W2 H2\n" + SIX, b"YUV4MPEG2 W2 H2 Ip\n" + LAST + SIX, 0),
        (b"YUV4MPEG2 W2 H2\n" + SIX, b"YUV4MPEG2 W2 H2\n" + LAST, 0),
        (b"YUV4MPEG2 W2 H2\n" + SIX, b"YUV4MPEG2 W2 H2\n" + SIX, 3),
        (b"YUV4MPEG2 W2 H2\n" + SIX, b"YUV4MPEG2 W2 H2\n", 3),
        (b"YUV4MPEG2 W2 H2\n" + SIX[:-1], b"YUV4MPEG2 W2 H2\n" + LAST + SIX, 3),
        (b"YUV4MPEG2 W2 H2\n", b"YUV4MPEG2 W2 H2\n", 3),
        (b"", b"", 3),
        (None, b"YUV4MPEG2 W2 H2\n" + LAST, 1),
    ],
)
def test_the_check_of_the_overlap(
    left: bytes | None, chunk: bytes, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs the check in a shell, as a worker does; it removes the file that is no longer needed."""
    command = example("xcenc7_server", monkeypatch).OVERLAP.format(frames=6)
    if left is not None:
        (tmp_path / "left.y4m").write_bytes(left)
    (tmp_path / "input.y4m").write_bytes(chunk)
    words = ["/bin/sh", "-c", command.replace("##TMPDIR##", str(tmp_path))]
    assert subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode == status
    assert [path.name for path in tmp_path.iterdir()] == ["input.y4m"]


def test_the_states_have_the_originals_names(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(example("xcenc_server", monkeypatch), "-n", "5", "-K", "4").go(monkeypatch)
    assert {state.actorNum: state.stateinfo for state in run.states} == TIMES


def test_a_distance_of_one_needs_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(example("xcenc_server", monkeypatch), "-n", "2", "-K", "1").go(monkeypatch)
    for sent in run.sent:
        assert not any("xc-dump" in str(command) for command in sent)
        assert str(sent[-3]).startswith("run:./vpxenc")
    assert run.states[1].stateinfo[-4:] == [
        "XCEncRunState",
        "XCEncFinishState",
        "XCEncQuitState",
        "FinalState",
    ]


def passes_of(sent: list[str | None]) -> list[tuple[str, str, str, str]]:
    """Returns run_iter, cmdquality, send_statefile and the start of the encoder's command for each pass of a part."""
    found = []
    for place, command in enumerate(sent):
        if str(command).startswith("seti:run_iter:"):
            four = [str(each) for each in (*sent[place : place + 3], sent[place + 4])]
            found.append(
                (
                    four[0].removeprefix("seti:run_iter:"),
                    four[1].removeprefix("set:cmdquality:"),
                    four[2].removeprefix("seti:send_statefile:"),
                    four[3].removeprefix("run:").removeprefix("##INSTATEWAIT## ").partition(" -")[0],
                )
            )
    return found


def test_without_a_keyframe_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two passes encode again, and two refine. All comparisons differ, which matters only from part tot_passes - 1
    on."""

    def differ(command: str) -> str | None:
        return "OK:RETVAL(1):OUTPUT():COMMAND()" if "comp-states" in command else answer(command)

    run = Run(
        example("xcenc_server", monkeypatch), "-n", "5", "-p", "1,0,2,2", "-S", "40", "-u", answers=differ
    ).go(monkeypatch)
    xc_enc = "./xc-enc ##QUALITY##"
    last = [
        ("0", "30", "1", "./vpxenc"),
        ("1", "--s-ac-qi 40", "1", xc_enc),
        ("2", "--s-ac-qi 40", "1", xc_enc),
        ("3", "--refine-sw", "1", xc_enc),
        ("4", "--refine-sw --fix-prob-tables", "1", xc_enc),
    ]
    for part in range(4):
        assert passes_of(run.sent[part]) == last[: part + 1]
    assert passes_of(run.sent[4]) == [(*each[:2], "0", each[3]) for each in last]
    runs = [str(command) for command in run.sent[4] if "./xc-enc" in str(command)]
    assert ["--reencode-first-frame" in command for command in runs] == [False, True, False, False]
    assert run.event["minimal_recode"] == 0
    compare = 'run:./comp-states "##TMPDIR##/prev.state" "##TMPDIR##/final.state" >> "##TMPDIR##/comp.txt"'
    uploads = [
        f"upload:sintel-1k-y4m_06/{kind}_30_40/{{0:08d}}.{ending}\0##TMPDIR##/{file}.{ending}"
        for kind, file, ending in (
            ("out", "output", "ivf"),
            ("first", "first", "ivf"),
            ("final_state", "final", "state"),
            ("prev_state", "prev", "state"),
            ("comp_txt", "comp", "txt"),
        )
    ]
    for part in range(5):
        expected = [compare] + [upload.format(part) for upload in (uploads if part == 4 else uploads[:3])]
        end = expected if part == 4 else [*expected, "quit:"]
        assert run.sent[part][-len(end) :] == end
    assert "1 of 5 parts failed" in str(run.error)
    assert str(run.states[4]) == "4:not converged after 5 passes"


def test_the_default_passes_converge_if_the_states_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(example("xcenc_server", monkeypatch), "-n", "8").go(monkeypatch)
    assert run.error is None
    assert [len(passes_of(sent)) for sent in run.sent] == [1, 2, 3, 4, 5, 6, 6, 6]
    assert [quality for _, quality, _, _ in passes_of(run.sent[7])] == [
        "30",
        "",
        "",
        "",
        "--refine-sw",
        "--refine-sw --fix-prob-tables",
    ]


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("xcenc_server", ["-p", "1,2,1,2"], "-p: the second phase goes with -K only"),
        ("xcenc_server", ["-K", "4", "-N", "4,6"], "-N: part 6 needs the state of part 5"),
        ("xcenc7_server", ["-K", "4", "-N", "4,6"], "-N: part 6 needs the state of part 5"),
    ],
)
def test_flags_that_do_not_go_together(
    name: str,
    words: list[str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        Run(example(name, monkeypatch), *words).go(monkeypatch)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_parts_that_wait_for_a_failed_one_end_with_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Part 1 of each group fails; the parts to its right are waiting, or get their workers only afterwards."""

    def fail(command: str) -> str | None:
        if "./xc-enc" in command:
            return "OK:RETVAL(1):OUTPUT(no codec\n):COMMAND(./xc-enc)"
        return answer(command)

    run = Run(example("xcenc_server", monkeypatch), "-n", "8", "-K", "4")
    serve, begun = run._serve, threading.Event()

    def act(worker: FakeWorker) -> None:
        part = int(str(worker.commands[0]).split(":")[5])
        if part % 4 in (2, 3):  # these parts wait for their state
            while (command := worker.commands[-1]) is not None and "./xc-enc" not in command:
                worker.say(answer(command) or "")
                worker.hear()
            begun.set()
            while worker.hear() is not None:
                pass
        else:
            if part % 4 == 1:
                begun.wait(300)
                run._answers = fail
            serve(worker)

    monkeypatch.setattr(run, "_serve", act)
    run.go(monkeypatch)
    assert "6 of 8 parts failed" in str(run.error)
    said = capfd.readouterr().err
    for part in (1, 5):
        assert f"part {part} failed in XCEncRunState: exit status 1: no codec (from: ./xc-enc)\n" in said
    # The four failures are one group if all parts were in the same state, else they are listed one by one.
    waiting = r"^(?:4 parts failed in \w+, )?part (\d)(?: failed in \w+| of them): waits for part [15], which failed$"
    told = re.findall(waiting + r"(?:\n    the same in parts ([\d, ]+))?", said, re.MULTILINE)
    assert {int(number) for found in told for number in re.findall(r"\d", "".join(found))} == {2, 3, 6, 7}


def test_a_part_without_a_worker_yet_ends_when_it_gets_one(capfd: pytest.CaptureFixture[str]) -> None:
    from tests.unit.server.test_api import Job

    class Failing(ErrorState):
        def __init__(self, prevState: Any, actorNum: int = 0) -> None:
            super().__init__(MachineState(prevState, actorNum), "no reason")

    def dependants(failed: MachineState) -> list[int]:
        return [failed.actorNum + 1, 99]

    job = Job(Failing, num_parts=2, dependants=dependants)
    for _ in range(2):
        worker = FakeWorker(job.port)
        worker.say("OK:HELLO")
        assert worker.hear() is None
    with pytest.raises(JobError, match="2 of 2 parts failed"):
        job.end()
    assert str(job.states[1]) == "1:waits for part 0, which failed"
