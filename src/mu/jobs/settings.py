"""The settings of a job: the same names as in a coordinator's `ServerInfo`, and most of them are flags, too."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from mu.errors import UsageError

RETRIES = 2


class Settings(TypedDict, total=False):
    """What `mu.run` and `mu.main` take beside a part and its inputs. Times are in seconds.

    `function`: the Lambda function that workers are. `engine`: where they run, a name as for `-e` (`lambda`, `here`,
    `ssh:HOSTS`, `slurm`), several of them, or an engine of one's own; without it `lambda` if there is a function, else
    `here`. `bucket`: where `Worker.retrieve` and `Worker.upload` look, a bucket's name or `file:///DIRECTORY`.
    `workers`: how many at a time. `retries`: how often a part that failed is tried again (2). `backup`: a second worker
    for parts that take so many times the median. `kill_time`: the longest that a part may take. `outputs(input)` names
    the key, or keys, that a part makes, for `resume`. The rest is as in docs/coordinators.md.
    """

    function: str
    engine: Any
    engine_args: str | None
    tunnel: bool
    ramp: Any
    bucket: str
    regions: Sequence[str] | None
    workers: int | None
    overprovision: int
    retries: int
    backup: float | None
    kill_time: float | None
    part_timeout: float | None
    connect_timeout: float | None
    hashed_names: bool
    resume: bool
    outputs: Callable[[Any], str | Sequence[str]]
    port_number: int
    host_addr: str | None
    cacert: str | None
    srvcrt: str | None
    srvkey: str | None
    worker_cert: str | None
    worker_key: str | None
    out_file: str | None
    profiling: str | None
    record_dir: str | None
    output_dir: str | None
    quiet: bool
    verbose: bool
    no_cost: bool
    event: Mapping[str, Any]


# A flag exists where the settings have its attribute (`mu.server.flags`).
DEFAULTS: dict[str, Any] = {
    "port_number": 0,
    "lambda_function": None,
    "engine": None,
    "engine_args": None,
    "tunnel": False,
    "ramp": None,
    "bucket": "",
    "regions": None,
    "workers": None,
    "overprovision": 0,
    "retries": RETRIES,
    "backup": None,
    "kill_time": None,
    "part_timeout": None,
    "connect_timeout": None,
    "hashed_names": False,
    "host_addr": None,
    "cacert": None,
    "srvcrt": None,
    "srvkey": None,
    "worker_cert": None,
    "worker_key": None,
    "out_file": None,
    "profiling": None,
    "record_dir": None,
    "output_dir": None,
    "quiet": False,
    "verbose": False,
    "no_cost": False,
}
# Settings that are no flags.
ONLY_GIVEN = ("outputs", "event")


class Info:
    """A job's settings as attributes, which is what flags are read into."""

    def __init__(self, given: Settings) -> None:
        values = {"lambda_function" if name == "function" else name: value for name, value in given.items()}
        known = {*DEFAULTS, *ONLY_GIVEN, "resume"}
        for name in values:
            if name not in known:
                shown = ", ".join(sorted({"function", *known} - {"lambda_function"}))
                raise UsageError(f"a job has no setting {name}: there are {shown}")
        self.__dict__.update(DEFAULTS)
        if "outputs" in values:  # without it there is nothing to go by
            self.resume = False
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
