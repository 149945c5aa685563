"""The settings of a run, and the outcome of each part."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mu.machine import MachineState
from mu.server.ledger import Part


@dataclass(frozen=True)
class Settings:
    """Settings of a run about its parts and workers; times are in seconds.

    `parts`: in the order in which workers get them. They are read when they are needed, in the loop's thread, so the
    iterable must not block: it yields None while no part is ready. `grouped`: the first state's constructor takes the
    group's number, too. `workers`: how many at a time (None: as many as there are parts, within the engine's limit);
    `overprovision`: how many more than that. `retries`, `backup`: as for `Ledger`. `kill_time`: seconds after a
    part's beginning when its machine is ended; it then enters `kill_state`, a terminal state, or an ErrorState if
    that is None. `part_timeout`: a worker with less time left than this gets no other part. `connect_timeout`: how
    long to wait for missing workers until others are launched (at most `retries` times in a row), or the run ends if
    no worker is busy. `run_id`: a worker whose hello names another run is refused. `room`: how many connections may
    be open. `journal`: how many of each worker's answers are kept; with 0 the commands are not logged either.
    `dependants`: called with the last state of a failed part; returns the numbers of the parts that depend on it,
    which then fail, too.
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
    """Settings of a run about its surroundings: addresses, keys, files, and what is printed.

    `port`: 0 takes any free one. `address`: of this machine, as workers reach it (None: the engine finds it).
    `cacert`: None means plain TCP, for this machine only. `worker_cert`, `worker_key`: are sent to workers. `event`:
    fields for every worker's event. `relay`: address and port of a relay that the run starts itself. `output_dir`:
    the directory where programs' output is kept. `verbose`: programs' output is shown, too, except for standard
    output if another part of the program shows that (`stdout_shown`). `shown`: the settings that the record contains;
    `secrets`: texts that it must not contain. `function`: the Lambda function whose price is looked up (None: no cost
    estimate). `regions`: those that the script names; the first one is the region of the workers' bucket, unless the
    event has one, and without any it is the default region. `resume_from`: called with the parts and a region,
    returns the parts that are to be done.
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
    """How a part ended; reported once, when no other attempt follows.

    `status` is `done`, `failed`, or `stopped` (the run ended before the part did). `result` comes from the terminal
    state; `error` is one text, empty if there was none. `attempt` counts from 1; `seconds` is the duration of that
    attempt; `worker` has the facts of the worker's hello; `machine` is the last state, None if the part was stopped
    while it waited for another attempt.
    """

    part: Part
    status: str
    result: Any
    error: str
    attempt: int
    seconds: float
    worker: Mapping[str, Any]
    machine: MachineState | None
