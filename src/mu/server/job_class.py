"""The base class of a script's settings, with each setting and its default.

A script that derives its `ServerInfo` from `Job` names only what differs from the defaults, and has all flags. With a
class that is not derived from it, a flag exists only if the class has its attribute. The settings are read once, when
the run is prepared.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mu.machine import MachineState


class Job:
    """The settings of a run; each of them is a flag, too. Times are in seconds.

    `class ServerInfo(server.Job): lambda_function = "png2y4m"` is enough. Settings of particular jobs, such as
    `video_name` or `num_frames`, are flags if the script has the attribute.
    """

    # The function, where it runs, and the bucket of its inputs and outputs.
    lambda_function: ClassVar[str | None] = None
    regions: ClassVar[list[str] | None] = None
    bucket: ClassVar[str | None] = None

    # The parts: `num_parts` of them, or those of `num_list`.
    num_parts: ClassVar[int] = 1
    num_list: ClassVar[list[int] | None] = None
    num_offset: ClassVar[int] = 0

    # The engine that starts workers (None: Lambda), and how many at a time (None: as many as there are parts).
    engine: ClassVar[str | None] = None
    engine_args: ClassVar[str | None] = None
    tunnel: ClassVar[bool] = False
    ramp: ClassVar[str | None] = None
    workers: ClassVar[int | None] = None

    # How to handle workers that fail, are slow, or never connect.
    overprovision: ClassVar[int] = 0
    retries: ClassVar[int] = 2
    backup: ClassVar[float | None] = None
    kill_time: ClassVar[float | None] = None
    kill_state: ClassVar["Callable[..., MachineState] | None"] = None
    connect_timeout: ClassVar[float | None] = None
    part_timeout: ClassVar[float | None] = None
    dependants: "ClassVar[Callable[[MachineState], Iterable[int]] | None]" = None

    # `resume` skips the parts whose outputs exist; the script's `outputs(part)` returns the keys of a part's outputs.
    resume: ClassVar[bool] = False
    hashed_names: ClassVar[bool] = False

    # The address and port that workers connect to, and the key files (None: keys are made for this run).
    port_number: ClassVar[int] = 13579
    host_addr: ClassVar[str | None] = None
    cacert: ClassVar[str | None] = None
    srvcrt: ClassVar[str | None] = None
    srvkey: ClassVar[str | None] = None
    worker_cert: ClassVar[str | None] = None
    worker_key: ClassVar[str | None] = None
    key_type: ClassVar[str] = "ec"

    # What a run prints, and the files that it writes.
    quiet: ClassVar[bool] = False
    verbose: ClassVar[bool] = False
    no_cost: ClassVar[bool] = False
    out_file: ClassVar[str | None] = None
    profiling: ClassVar[str | None] = None
    record_dir: ClassVar[str | None] = None
    output_dir: ClassVar[str | None] = None
