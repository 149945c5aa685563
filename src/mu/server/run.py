"""One object for a run, with the steps prepare, launch, drive and conclude.

`prepare` opens the port, `launch` starts workers, `drive` runs the loop, and `conclude` writes files, prints the
summary and raises if the run failed. Whatever ends the loop, launching is cancelled, the port is closed, workers are
told to quit, and `conclude` still writes the files.

`mu.server.script_runs` finds the run that belongs to a script's three calls.
"""

import dataclasses
import json
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mu.console.debugging import follow_defs
from mu.console.system import LOOP, allow_connections, need_linux
from mu.engines.protocol import Engine
from mu.errors import JobError, UsageError, reason
from mu.history import times_file
from mu.machine import MachineState, listed
from mu.report import choose, outputs
from mu.report.cost import Lookup, Meter
from mu.report.failure import Failure
from mu.report.reporter import Counts, Reporter
from mu.report.telling import Tally, Telling
from mu.server import finish, prepare
from mu.server.attempts import Attempts, summary_of
from mu.server.flags import bracketed
from mu.server.ledger import Ledger
from mu.server.loop import Loop
from mu.server.settings import Outcome, Settings, Setup
from mu.server.staffing import Staffing
from mu.tls import connection
from mu.tls import listener as tls_listener
from mu.wire.connect import BOTH_READ
from mu.wire.protocol import FILE_BUCKET

if TYPE_CHECKING:
    import cProfile

    from mu.server.recording import Recording


class Run:
    """One run of a job.

    `constructor` makes each part's first state (see `Attempts`). `engine` starts the workers; without one, workers
    are started by others and connect. `on_outcome` is called with an `Outcome` for each part when it is over, in the
    loop's thread: it must be quick, and an exception in it ends the run. So is `on_tick`, at short intervals while the
    run goes on. `states` receives the machines, as for
    `server_main_loop`; None keeps none. `reporter` is told what happens; the default writes to standard error.

    After `drive`, `error` is the exception that ended the loop, if any; `counts`, `failures`, `ended` and
    `worker_seconds` tell how it went. After `conclude`, `estimate` is the cost estimate (None if there is none), and
    `recorded` the path of the record (empty if none was kept).
    """

    def __init__(
        self,
        settings: Settings,
        constructor: Callable[..., MachineState] | None = None,
        *,
        setup: Setup | None = None,
        engine: Engine | None = None,
        reporter: Reporter | None = None,
        on_outcome: Callable[[Outcome], object] | None = None,
        on_tick: Callable[[], object] = lambda: None,
        states: list[MachineState] | None = None,
    ) -> None:
        self.settings = settings
        self.setup = Setup() if setup is None else setup
        self.constructor = constructor
        self.engine = engine
        self.reporter = reporter
        self.on_outcome = on_outcome
        self.on_tick = on_tick
        self.states = states
        self.relay: tuple[str, int] | None = None  # address and port of the run's own relay, if it has one
        self.lookup: Lookup | None = None
        self.profile: cProfile.Profile | None = None
        self.error: BaseException | None = None
        self.estimate: dict[str, Any] | None = None
        self.recorded = ""
        self.recording: Recording | None = None
        # Values of a script's ServerInfo before the run set them (`prepare.READ_BACK`).
        self.before: dict[str, Any] = {}
        self._listener: socket.socket | None = None
        self._started: Engine | None = None  # the engine, once it has been told to start workers
        self._stop_relay: Callable[[], None] | None = None
        self._notes: deque[str] = deque()
        self._loop: Loop | None = None
        self._attempts: Attempts | None = None
        self._ledger: Ledger | None = None
        self._telling: Telling | None = None
        self._output: Path | None = None

    @property
    def listener(self) -> socket.socket:
        """The listening socket, opened at the first access; without keys it listens on the loopback address only.

        Raises UsageError if the port cannot be opened.
        """
        if self._listener is None:
            address = "" if self.setup.cacert else "127.0.0.1"
            self._listener = tls_listener.listen(address, self.setup.port)
            self._listener.setsockopt(*BOTH_READ)
        return self._listener

    @property
    def port(self) -> int:
        """The port that the run listens on."""
        return int(self.listener.getsockname()[1])

    @property
    def loop(self) -> Loop:
        """The loop. It exists once `drive` has begun."""
        assert self._loop is not None
        return self._loop

    @property
    def counts(self) -> Counts:
        """How far the run is: parts done, failed and running."""
        return Counts() if self._telling is None else self._telling.tally.counts()

    @property
    def ended(self) -> str:
        """Why the loop stopped early; empty if it did not."""
        return "" if self._loop is None else self._loop.ended

    @property
    def worker_seconds(self) -> float:
        """Seconds that all workers were connected, in total."""
        return 0.0 if self._loop is None else self._loop.worker_seconds

    @property
    def failures(self) -> list[Failure]:
        """The first thousand of the parts that failed for good, sorted by part."""
        return [] if self._attempts is None else summary_of(self._attempts.failures)

    @property
    def part_numbers(self) -> Sequence[int] | None:
        """The numbers of all parts; None if parts are read only when they are needed."""
        parts = self.settings.parts
        if isinstance(parts, Sequence):
            return [listed(part.number) for part in parts]
        numbers: Sequence[int] | None = getattr(
            parts, "numbers", None
        )  # parts that are made of inputs at hand
        return numbers

    @property
    def attempts_made(self) -> int:
        """How many attempts have begun."""
        return 0 if self._attempts is None else self._attempts.made

    @property
    def idle(self) -> bool:
        """Whether the run has no parts at all."""
        parts = self.settings.parts
        return isinstance(parts, Sized) and len(parts) == 0

    def prepare(self) -> "Run":
        """Opens the port, and makes the directory of programs' output. Raises UsageError if either is impossible."""
        if not self.idle:
            need_linux("a coordinator", LOOP)
            self._output = outputs.prepare(self.setup.output_dir)
            _ = self.listener
        return self

    def launch(self, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Starts as many workers as parts wait for, within the limit; returns the event that the workers get.

        The event is `event` with `port`, the workers' keys, `addr` if it is unset, and the fields of `Setup.event`
        that `event` does not have. Returns at once; launching goes on in the engine. Raises UsageError or MuError if
        it cannot begin.
        """
        setup, engine = self.setup, self.engine
        made: dict[str, Any] = {"tell_facts": 1, **setup.event, **(event or {})}
        if setup.cacert:
            made |= {"cacert": setup.cacert, "srvcrt": setup.worker_cert, "srvkey": setup.worker_key}
        if setup.resume_from is not None:
            parts = setup.resume_from(self.settings.parts, made.get("region") or self._region())
            self.settings = dataclasses.replace(self.settings, parts=parts)
        if self.idle or engine is None:
            return made
        if not str(made.get("bucket") or FILE_BUCKET).startswith(FILE_BUCKET):
            made.setdefault("region", self._region())
        made["port"] = self.port
        if not made.get("addr"):
            made["addr"] = setup.address or engine.own_address()
        if not setup.cacert and not prepare.is_loopback(made["addr"]):
            raise UsageError(
                f"ServerInfo has no cacert: workers at {made['addr']} would be driven in the clear; "
                "give it cacert = srvcrt = srvkey = None, and server.options makes keys"
            )
        self._start_relay(made["addr"])
        staffing = self._staff(engine)
        if self.reporter is not None and getattr(self.reporter, "wants_sizes", False):
            made.setdefault("tell_sizes", 1)
        self._started = engine
        engine.start(json.dumps(made), staffing.first())
        if self._telling is not None:
            self._telling.tally.regions = ", ".join(engine.regions)
        ask = engine.asker()
        if setup.function and ask is not None:
            self.lookup = Lookup(setup.function, engine.regions, ask)
            if self._telling is not None:
                self._telling.tally.meter = Meter(self.lookup)
        return made

    def _region(self) -> str:
        """Returns the region of the job's bucket if the event names none. Raises UsageError or MuError if there is
        none."""
        from mu import aws  # late: it loads boto3, which a job without S3 and Lambda does not need

        return aws.regions(self.setup.regions)[0]

    def drive(self) -> None:
        """Drives one machine for each part until all are over. An exception is kept in `error` for `conclude`."""
        assert self.constructor is not None
        self._book()
        telling, ledger, engine = self._telling, self._ledger, self.engine
        assert telling is not None
        assert ledger is not None
        telling.replace(self.reporter)
        if self.idle:
            telling.note("nothing to do: 0 of 0 parts done")
            return
        setup = self.setup
        if setup.verbose or self._output is not None:
            show = telling.line if setup.verbose else None
            telling.outputs = outputs.Outputs(self._output, show, show_stdout=not setup.stdout_shown)
        context = None
        try:
            if setup.cacert:
                context = connection.context(setup.cacert, setup.srvcrt, setup.srvkey, server=True)
            staffing = self._staff(engine)
            telling.listening(self.port, tls=context is not None)
            workers = min(ledger.parts, staffing.limit) if ledger.parts_known else staffing.limit
            settings = dataclasses.replace(self.settings, workers=workers, room=allow_connections(0))
            self._attempts = Attempts(
                settings, self.constructor, self.states, ledger, telling, self.on_outcome
            )
            self._loop = Loop(
                settings,
                ledger,
                self._attempts,
                telling,
                self.listener,
                context,
                engine,
                self._notes,
                staffing,
                self.on_tick,
            )
            if setup.record_dir:
                from mu.server.recording import Recording

                self.recording = Recording(
                    setup.record_dir, self._loop.start, setup, self.part_numbers, self.engine
                )
                self._attempts.recorder = self.recording.recorder
            if setup.profiling:
                import cProfile

                self.profile = cProfile.Profile()
                self.profile.runcall(self._loop.run)
            else:
                self._loop.run()
        except BaseException as error:
            self.error = error
            if self._loop is not None and not self._loop.ended:
                self._loop.ended = f"the run was ended: {reason(error)}"
        finally:
            self.close()
            telling.close()

    def conclude(self) -> None:
        """Writes the files, reports how the run has ended, and raises `error` or JobError if it failed."""
        if self._telling is None:
            return
        if self._loop is None and self.error is not None:
            raise self.error  # the run has not begun
        if self.idle:
            if self.setup.out_file:
                times_file.write(self.setup.out_file, [], time.time())
            return
        unwritten = finish.conclude(self, self._telling)
        if self.error is not None:
            raise self.error
        loop, counts = self.loop, self.counts
        if loop.signal:
            raise JobError(loop.ended, 128 + loop.signal)
        left = counts.parts - counts.done
        if left or not counts.parts_known:
            raise JobError(loop.ended or f"{left} of {counts.parts} parts failed")
        if unwritten:
            raise JobError(f"cannot write {', '.join(unwritten)}")

    def close(self) -> None:
        """Ends launching, closes the port and stops the relay, in whatever state the run is. Lets the engine end its
        workers, unless the loop has done that. A second call does nothing."""
        if self.engine is not None:
            self.engine.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._stop_relay is not None:
            stop, self._stop_relay = self._stop_relay, None
            stop()
        started, self._started = self._started, None
        if started is not None and not (self._loop is not None and self._loop.waited):
            started.wait()

    def wake(self, machine: MachineState) -> None:
        """Lets the loop handle `machine` soon although its worker has sent nothing. Only from the loop's thread."""
        self.loop.wake(machine)

    def say(self, text: str) -> None:
        """Prints a line while the run goes on. Only from the loop's thread."""
        if self._telling is not None:
            self._telling.line(text)

    def stop(self, why: str) -> None:
        """Ends the run at the loop's next turn, with this reason. Only from the loop's thread, or a signal handler."""
        self.loop.stop(why)

    def _book(self) -> None:
        """Makes the ledger and the objects that report about it; the ledger reads no part yet."""
        if self._ledger is not None:
            return
        follow_defs()
        self._ledger = Ledger(self.settings.parts, self.settings.retries, self.settings.backup)
        if self.reporter is None:
            self.reporter = choose.for_run(
                self._ledger.parts, quiet=self.setup.quiet, verbose=self.setup.verbose
            )
        self._telling = Telling(self.reporter, Tally(self._ledger.counts))
        self._staffing: Staffing | None = None

    def _staff(self, engine: Engine | None) -> Staffing:
        self._book()
        assert self._ledger is not None
        assert self._telling is not None
        if self._staffing is None:
            workers = self.settings.workers or 0
            needed = min(workers, self._ledger.parts) if self._ledger.parts_known else workers
            room = allow_connections(needed)
            self._staffing = Staffing(self.settings, self._ledger, self._telling, engine, self.port, room)
        return self._staffing

    def _start_relay(self, address: str) -> None:
        """Starts the relay here if the job has one and its keys were made for this run: no other relay could have
        them."""
        if self.setup.relay is None:
            return
        from mu.relay import thread

        setup = self.setup
        host, port = self.setup.relay
        assert setup.cacert is not None
        context = connection.context(setup.cacert, setup.srvcrt, setup.srvkey, server=True)
        port, self._stop_relay = thread.start_thread(port, context, self._notes.append)
        self.relay = (bracketed(address) if prepare.is_loopback(host.strip("[]")) else host, port)


def run(
    settings: Settings,
    constructor: Callable[..., MachineState],
    *,
    setup: Setup | None = None,
    engine: Engine | None = None,
    event: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    on_outcome: Callable[[Outcome], object] | None = None,
    states: list[MachineState] | None = None,
) -> Run:
    """Does a whole run. Raises JobError if any part was not done, UsageError or MuError if nothing could be
    started."""
    made = Run(
        settings,
        constructor,
        setup=setup,
        engine=engine,
        reporter=reporter,
        on_outcome=on_outcome,
        states=states,
    )
    try:
        made.prepare()
        made.launch(event)
        made.drive()
    finally:
        made.close()
    made.conclude()
    return made
