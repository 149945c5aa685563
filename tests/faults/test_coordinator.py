"""The coordinator dies, or is stopped by its user, and is run again."""

import signal

import pytest

from tests.faults.front import GET, INVOKE, PUT, Gate, Rule
from tests.faults.rig import PARTS, Rig, frame, output

# The request that is held while the coordinator dies -> the outputs that exist by then.
MOMENTS = {
    "launching": (INVOKE, "", 0),
    "retrieving": (GET, frame(0)[:-6], 0),
    "half done": (PUT, f"{output(1)}|{output(3)}", 2),
    "uploading the last": (PUT, output(PARTS - 1), PARTS - 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_run_again(rig: Rig, moment: str) -> None:
    end_and_resume(rig, moment, signal.SIGKILL, -signal.SIGKILL)


def test_interrupted_and_run_again(rig: Rig) -> None:
    end_and_resume(rig, "half done", signal.SIGINT, 128 + signal.SIGINT)


def end_and_resume(rig: Rig, moment: str, number: int, status: int) -> None:
    """Checks that the second run does the missing parts, and nothing else."""
    operation, key, there = MOMENTS[moment]
    gate = Gate()
    rig.rules(Rule(operation, gate, key, times=PARTS))
    job = rig.start()
    for _ in range(1 if operation == INVOKE else PARTS - there):
        gate.arrived()
    if there:
        rig.wait_for_outputs(there)
    job.process.send_signal(number)
    job.end(status)
    missing = PARTS - len(rig.outputs())
    assert missing == PARTS - there
    gate.open()
    rig.nothing_left()
    missing = PARTS - len(rig.outputs())
    rig.front.reset()
    text = rig.run("--resume")
    rig.all_there()
    assert (f"{missing} of {missing} parts done" if missing else "nothing to do") in text
    assert len(rig.front.asked(INVOKE)) == missing
