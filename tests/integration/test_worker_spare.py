"""A worker whose coordinator has ended must not join the next run of an original coordinator with that port and
keys."""

import pytest

from mu.tls import keys
from tests.support.worker_rig import Listener, Worker

JOB = keys.make_job_keys("rsa")


def test_one_that_was_in_the_queue_of_an_original_coordinator_does_not_dial_again() -> None:
    """The run ended after the worker connected and before its handshake; the next run already listens on the port."""
    with Listener(JOB) as listener, Worker(listener.event()) as worker:
        listener._listening.accept()[0].close()
        assert worker.result().startswith("FAIL(could not reach the coordinator at 127.0.0.1:")
        listener._listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener._listening.accept()


@pytest.mark.parametrize("said_hello", [False, True])
def test_one_that_was_connected_does_not_dial_again(said_hello: bool) -> None:
    with Listener(JOB) as listener, Worker(listener.event()) as worker:
        peer = listener.greet() if said_hello else listener.accept()
        peer.close()
        assert "coordinator" in worker.result()
        listener._listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener._listening.accept()


def test_one_of_ours_dials_again_since_its_run_can_be_told_from_others() -> None:
    with Listener(JOB) as listener, Worker(listener.event(tell_facts=1)) as worker:
        listener._listening.accept()[0].close()
        peer = listener.greet(facts=True)
        peer.send("quit:")
        assert worker.result() == "quit"
        peer.close()
