"""The settings of a job: the same names as in a coordinator's `ServerInfo`, and most of them are flags, too."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from mu.console.arguments import as_texts, in_python, no_setting, word
from mu.engines.protocol import Engine
from mu.engines.ramp import Ramp
from mu.errors import UsageError
from mu.preflight import check_names
from mu.server.command_line import check_reports
from mu.server.flags import EVERY_SCRIPT, FLAGS, WORKER_FLAGS
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
    cacert: str | os.PathLike[str] | None
    srvcrt: str | os.PathLike[str] | None
    srvkey: str | os.PathLike[str] | None
    worker_cert: str | os.PathLike[str] | None
    worker_key: str | os.PathLike[str] | None
    key_type: str
    out_file: str | os.PathLike[str] | None
    profiling: str | os.PathLike[str] | None
    record_dir: str | os.PathLike[str] | None
    output_dir: str | os.PathLike[str] | None
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
# The parsers of the settings' flags; None for a switch.
PARSERS = {flag.attribute: flag.parse for flag in (*FLAGS, *WORKER_FLAGS, *EVERY_SCRIPT)} | {"key_type": word}


class Info:
    """A job's settings as attributes, into which flags are read. None is the default.

    Raises UsageError if a setting does not exist, or its flag would be refused.
    """

    def __init__(self, given: Settings) -> None:
        known = {*DEFAULTS, *ONLY_GIVEN, "resume"}
        values = {}
        for name, value in given.items():
            attribute = "lambda_function" if name == "function" else name
            if attribute not in known:
                raise UsageError(no_setting("a job", name, {"function", *known} - {"lambda_function"}))
            if value is not None:
                values[attribute] = _checked(name, attribute, value)
        check_reports(values)
        check_names(bucket=values.get("bucket"), host=values.get("host_addr"), regions=values.get("regions"))
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


def _checked(name: str, attribute: str, value: Any) -> Any:
    """Returns the value of a setting as its flag's parser does. Raises UsageError."""
    if attribute == "outputs" and not callable(value):
        raise UsageError(f"outputs is a function, not {value!r}")
    if attribute == "event" and not isinstance(value, Mapping):
        raise UsageError(f"event is a dictionary, not {value!r}")
    if attribute in ONLY_GIVEN or isinstance(value, Engine | Ramp):
        return value
    if attribute in ("engine", "engine_args", "regions"):  # one text, or several
        return value if isinstance(value, str) else list(as_texts(name, value))
    return in_python(name, PARSERS[attribute], value)
