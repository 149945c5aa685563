"""The examples in the documentation run, and its diagrams are the output of `mu diagram`."""

import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mu import ErrorState, server
from mu.cli import diagram
from mu.server.script_runs import prepared
from tests.support.fake_workers import ANSWERS, FakeWorker, obey

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/*.md"))
COORDINATORS = (ROOT / "docs" / "coordinators.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", COORDINATORS, re.DOTALL)


def answer(command: str) -> str | list[str] | None:
    if command.startswith("geti:"):
        key = command.removeprefix("geti:")
        return [f"INFO:{key}:0", f"OK:GETI({key})"]
    return obey(command)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ends: list[Any] = []
    workers: list[FakeWorker] = []
    threads: list[threading.Thread] = []
    main_loop = server.server_main_loop

    def launch(info: Any, event: dict[str, Any]) -> None:
        assert event["mode"] == 1
        info.cacert = None  # these workers speak plain TCP
        port = prepared(info).port

        def work() -> None:
            for _ in range(info.num_parts):
                worker = FakeWorker(port)
                workers.append(worker)
                worker.say("OK:HELLO")
                while (command := worker.hear()) is not None:
                    replies = answer(command) or []
                    worker.say(*([replies] if isinstance(replies, str) else replies))

        threads.append(threading.Thread(target=work, daemon=True))
        threads[0].start()

    def loop(states: list[Any], first: Any, info: Any) -> None:
        main_loop(ends, first, info)

    monkeypatch.setattr(server, "server_launch", launch)
    monkeypatch.setattr(server, "server_main_loop", loop)
    monkeypatch.setattr(sys, "argv", ["example.py", "-t", "0"])
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {"__name__": "__main__"})
    threads[0].join(300)
    assert ends
    assert all(end.terminal and not isinstance(end, ErrorState) for end in ends)
    assert all(worker.commands[-2:] == ["quit:", None] for worker in workers)
    assert set(ANSWERS) >= {"set", "run"}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 10


@pytest.mark.parametrize("path", DOCS, ids=[path.name for path in DOCS])
def test_diagrams_are_not_stale(path: Path) -> None:
    drawn = re.findall(r"<!-- mu diagram (\S+) -->\n```mermaid\n(.*?)```", path.read_text(), re.DOTALL)
    for script, text in drawn:
        assert text == diagram.mermaid(diagram.first_state(str(ROOT / script)))


def test_superpositions_are_drawn_side_by_side() -> None:
    from mu import OnePassState, SuperpositionState, TerminalState

    class Final(TerminalState):
        pass

    class One(OnePassState):
        expect = "OK"
        nextState = Final

    class Both(SuperpositionState):
        state_constructors = [One, One]
        nextState = Final

    assert diagram.mermaid(Both).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> Both",
        "    state Both {",
        "        [*] --> Both0_One",
        '        state "One" as Both0_One',
        "        Both0_One --> Both0_Final",
        '        state "Final" as Both0_Final',
        "        Both0_Final --> [*]",
        "        --",
        "        [*] --> Both1_One",
        '        state "One" as Both1_One',
        "        Both1_One --> Both1_Final",
        '        state "Final" as Both1_Final',
        "        Both1_Final --> [*]",
        "    }",
        "    Both --> Final",
        "    Final --> [*]",
    ]


def test_what_its_attributes_do_not_tell_is_not_drawn() -> None:
    """A state whose method chooses the next one, and one that leads back to the superposition that it is in."""
    from mu import OnePassState, SuperpositionState

    class Own(OnePassState):
        nextState = None  # type: ignore[assignment]

        def post_transition(self) -> Any:
            return self

    class Computed(OnePassState):
        @property
        def nextState(self) -> Any:  # type: ignore[override]
            return Own

    class Around(SuperpositionState):
        state_constructors = [Own]
        nextState = Computed

    Around.state_constructors = [type("Back", (OnePassState,), {"nextState": Around})]
    assert diagram.mermaid(Own).splitlines() == ["stateDiagram-v2", "    [*] --> Own"]
    drawn = diagram.mermaid(Around)
    assert "Computed --> function" in drawn
    assert "Around0_Back --> Around0_Around" in drawn


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nothing_of_the_kind", "fails before its main loop: ModuleNotFoundError"),
        ("pass", "never calls server_main_loop"),
        ("raise SystemExit(3)", "fails before its main loop: SystemExit"),
    ],
)
def test_scripts_that_cannot_be_drawn(tmp_path: Path, text: str, error: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    with pytest.raises(diagram.UsageError, match=error):
        diagram.first_state(str(script))
    with pytest.raises(diagram.UsageError, match="there is no script"):
        diagram.first_state(str(tmp_path / "missing.py"))


def test_what_the_documentation_calls_can_be_executed() -> None:
    pages = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md"))]
    named = {
        name
        for page in pages
        for name in re.findall(r"`((?:bench|bin|fuzz)/\w+\.(?:py|sh))", page.read_text())
    }
    assert len(named) > 10
    assert [name for name in sorted(named) if not os.access(ROOT / name, os.X_OK)] == []
