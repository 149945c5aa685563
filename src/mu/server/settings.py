"""The settings of a run, and the outcome of each part."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mu.machine import MachineState
from mu.server.ledger import Part


@dataclass(frozen=True)
class Settings:
    """Settings of a run about its parts and workers; times are in seconds.

    `parts` in the order in which workers get them; they are read as they are needed, in the loop's thread, so the
    iterable must not wait: it yields None while no part is ready. `grouped`: the first state takes the group's number
    too. `workers`: how many at a time (None: as many as there are parts, within the engine's limit), and
    `overprovision`: how many more than that. `retries` and `backup` as for `Ledger`. `kill_time` runs from a part's
    beginning; then its machine ends in `kill_state`, a terminal state, or an error without one. `part_timeout`: a
    worker with less time left than this gets no other part. `connect_timeout`: how long to wait for missing workers
    before others are launched (as often as `retries` in a row), or the run ends if none is at work. `run_id`: a worker
    that names another in its hello is left over from another run. `room`: how many connections may be open. `journal`:
    how many of each worker's answers to keep; 0 also keeps no account of what the answers were to. `dependants`: given
    the last state of a part that has failed, the numbers of the parts that cannot be done without it, and end with it.
    """

    parts: Iterable[Part | None]
    grouped: bool = False
    workers: int | None = None
    overprovision: int = 0
    retries: int = 0
    backup: float | None = None
    kill_time: float | None = None
    kill_state: Callable[[MachineState], MachineState] | None = None
    part_timeout: float | None = None
    hello_timeout: float = 10.0
    connect_timeout: float = 120.0
    run_id: str | None = None
    room: int = 16384
    journal: int = 0
    dependants: Callable[[MachineState], Iterable[int]] | None = None


@dataclass(frozen=True)
class Setup:
    """Settings of a run about its surroundings: where it listens, its keys, its files, and what people are told.

    `port` 0 takes any that is free. `address` is this machine's as workers reach it; None: the engine finds out.
    `cacert` None: plain TCP, for this machine only. `worker_cert` and `worker_key` are sent to workers. `event` holds
    fields for every worker's event. `relay` is the address and port of a relay that the run starts itself.
    `output_dir` is where programs' output is kept. `verbose` also shows it, but for their standard output if that is
    `stdout_shown` by others.
    `shown` are the settings that a record shows, `secrets` the texts that it must not. `function`: the Lambda function
    whose price is looked up (None: no cost is told). `regions`: those that the script names; workers get the first as
    the region of their bucket, unless the event has one, or else the default region. `resume_from`: given the parts and
    a region, those to be done.
    """

    port: int = 0
    address: str | None = None
    cacert: str | None = field(default=None, repr=False)
    srvcrt: str = field(default="", repr=False)
    srvkey: str = field(default="", repr=False)
    worker_cert: str = field(default="", repr=False)
    worker_key: str = field(default="", repr=False)
    event: Mapping[str, Any] = field(default_factory=dict)
    relay: tuple[str, int] | None = None
    out_file: str | None = None
    profiling: str | None = None
    record_dir: str | None = None
    output_dir: str | None = None
    stdout_shown: bool = False
    quiet: bool = False
    verbose: bool = False
    function: str | None = None
    regions: Sequence[str] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    resume_from: Callable[[Iterable[Any], str], Iterable[Part]] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a part ended; told once, when no other attempt follows.

    `status` is `done`, `failed`, or `stopped` (the run ended before the part did). `result` is what the terminal state
    carries, `error` one text, empty if there was none. `attempt` counts from 1; `seconds` are of that attempt;
    `worker` has the facts that its worker told in its hello; `machine` is the last state.
    """

    part: Part
    status: str
    result: Any
    error: str
    attempt: int
    seconds: float
    worker: Mapping[str, Any]
    machine: MachineState
