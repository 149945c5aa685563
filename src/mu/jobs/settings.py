"""The settings of a job: the same names as in a coordinator's `ServerInfo`, and most of them are flags, too."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from mu.console.arguments import no_setting
from mu.errors import UsageError
from mu.server.job_class import Job as ScriptSettings


class Settings(TypedDict, total=False):
    """The settings of `mu.run` and `mu.main`, beside a part function and its inputs. Times are in seconds.

    `function`: the Lambda function to start. `engine`: where workers run, a name as for `-e` (`lambda`, `here`,
    `ssh:HOSTS`, `slurm`), several of them, or an engine of your own; the default is `lambda` if there is a function,
    otherwise `here`. `bucket`: the default bucket of `Worker.retrieve` and `Worker.upload`, a name or
    `file:///DIRECTORY`. `workers`: how many at a time. `retries`: how often a part that failed is tried again
    (default: 2). `backup`: a part that takes this many times the median gets a second worker. `kill_time`: the
    longest that a part may take. `outputs(input)` returns the key, or keys, of the objects in `bucket` that the part of
    an input makes; with `resume` (`--resume`) parts are skipped whose outputs exist. The other settings are as in
    docs/coordinators.md.
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
    key_type: str
    out_file: str | None
    profiling: str | None
    record_dir: str | None
    output_dir: str | None
    quiet: bool
    verbose: bool
    no_cost: bool
    event: Mapping[str, Any]


# Settings of a coordinator script that a job of coroutines does not have: its inputs are its parts, and a part's own
# code says how it ends. `resume` needs `outputs`.
NOT_OF_JOBS = {"num_parts", "num_list", "num_offset", "kill_state", "dependants", "resume"}
# A flag exists if the settings have its attribute (`mu.server.flags`).
DEFAULTS: dict[str, Any] = {
    **{
        name: value
        for name, value in vars(ScriptSettings).items()
        if not name.startswith("_") and name not in NOT_OF_JOBS
    },
    "port_number": 0,
    "bucket": "",
}
# Settings without a flag.
ONLY_GIVEN = ("outputs", "event")


class Info:
    """A job's settings as attributes, into which flags are read."""

    def __init__(self, given: Settings) -> None:
        values = {"lambda_function" if name == "function" else name: value for name, value in given.items()}
        known = {*DEFAULTS, *ONLY_GIVEN, "resume"}
        for name in values:
            if name not in known:
                raise UsageError(no_setting("a job", name, {"function", *known} - {"lambda_function"}))
        self.__dict__.update(DEFAULTS)
        if "outputs" in values:  # `resume` works only with `outputs`
            self.resume = False
        self.__dict__.update(values)

    @staticmethod
    def lacks(attribute: str) -> str:
        """Returns why there is no flag for a setting of coordinator scripts."""
        if attribute == "resume":
            return "it needs to know which objects each part makes: give outputs= to mu.main"
        return f"a job of mu.main has no {attribute}"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
