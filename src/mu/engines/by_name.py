"""Makes engines from the names that `-e` takes."""

import importlib.util
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mu.engines.protocol import BaseEngine, Engine
from mu.engines.ramp import LAMBDA, Ramp
from mu.errors import MuError, UsageError, reason

VARIABLE = "MU_ENGINE"
NAMES = "lambda, here, ssh:HOSTS, slurm[:PARTITION], microvm:IMAGE, or FILE.py:CLASS for one of your own"

WITHOUT_WORDS = {"lambda", "here"}  # engines that take no words of `--engine-args`


@dataclass(frozen=True)
class Wanted:
    """The job's requirements for its engines.

    `function`: a Lambda function, its package (NAME.zip), or "" if the job needs none. `named_regions`: those that
    the job names; `regions` has the default one if it names none. `workers`: how many at a time (None: the engine's
    default). `dispensable`: how many starts may fail without harm. `arguments`: the words of `--engine-args`, for
    ssh, sbatch, MicroVMs, or an engine of the user's own; other engines pass them over.
    """

    function: str = ""
    named_regions: Sequence[str] = ()
    workers: int | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    dispensable: int = 0
    pace: Ramp = LAMBDA
    arguments: Sequence[str] = ()
    tunnel: bool = False

    @property
    def regions(self) -> list[str]:
        """The regions of the job, looked up late, because that loads boto3. Raises UsageError or MuError."""
        from mu import aws

        return aws.regions(self.named_regions)

    def package(self, engine: str) -> Path | None:
        """Returns the package file for an engine that needs one; None if the job has none. Raises UsageError if it is
        missing."""
        if not self.function:
            return None
        path = Path(self.function if self.function.endswith(".zip") else f"{self.function}.zip")
        if not path.is_file():
            raise UsageError(
                f"-e {engine} needs the package of function {self.function}, and there is no file {path}: "
                "mu lambdaize leaves it in the current directory (--skip-upload makes no function), and -l names it"
            )
        return path


def names(given: Any, default: str = "lambda") -> list[str]:
    """Returns the engines of a job: `given` (a name, or several), otherwise those of $MU_ENGINE, otherwise
    `default`."""
    if isinstance(given, str):
        given = [given]
    return list(given or os.environ.get(VARIABLE, "").split() or [default])


def words(text: str | Sequence[str] | None) -> list[str]:
    """Splits the text of `--engine-args` into words, as a shell does. Raises UsageError if quotes do not match."""
    if not text:
        return []
    if not isinstance(text, str):
        return list(text)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--engine-args '{text}': {reason(error)}") from None


def check_name(spec: str) -> None:
    """Raises UsageError if there is no engine of this name; one of the user's own is not looked at."""
    name = spec.partition(":")[0]
    if not name.endswith(".py") and name not in MAKERS:
        raise UsageError(f"no engine '{spec}': the engines are {NAMES}")


def check_together(specs: Sequence[str], arguments: Sequence[str], tunnel: bool) -> None:
    """Raises UsageError if an engine is named twice, or none of them takes the words of `--engine-args`, or
    `--tunnel`."""
    if len(set(specs)) < len(specs):
        raise UsageError(f"-e names an engine twice: {', '.join(specs)}")
    if arguments and set(specs) <= WITHOUT_WORDS:
        raise UsageError(
            f"--engine-args are for ssh, slurm and microvm: {' and '.join(specs)} take{'s' * (len(specs) == 1)} none"
        )
    if tunnel and {spec.partition(":")[0] for spec in specs} <= MAKERS.keys() - {"ssh"}:
        raise UsageError(f"--tunnel is for ssh; workers of {' and '.join(specs)} connect back by themselves")


def by_name(spec: str, wanted: Wanted) -> Engine:
    """Returns the engine of a name; the text after its colon is its argument. Raises UsageError or MuError."""
    check_name(spec)
    name, _, argument = spec.partition(":")
    if name.endswith(".py"):
        return _of_ones_own(name, argument, wanted)
    return MAKERS[name](argument, wanted)


def all_of(given: Any, wanted: Wanted, default: str = "lambda") -> Engine:
    """Returns one engine that combines all engines that a job names."""
    chosen = names(given, default)
    check_together(chosen, wanted.arguments, wanted.tunnel)
    return joined([by_name(spec, wanted) for spec in chosen])


def joined(engines: Sequence[Engine]) -> Engine:
    """Returns one engine that combines these; at least one."""
    if len(engines) == 1:
        return engines[0]
    from mu.engines.several import Several

    return Several(engines)


def _lambda(argument: str, wanted: Wanted) -> Engine:
    from mu.engines.aws_lambda import AwsLambda

    _no_argument("lambda", argument, "-l names the function, and -r its regions")
    if wanted.function.endswith(".zip"):
        raise UsageError(
            f"-e lambda needs a function, but -l names the package {wanted.function}: make a function by mu lambdaize"
        )
    return AwsLambda(
        wanted.function,
        wanted.regions,
        wanted.access_key_id,
        wanted.secret_access_key,
        dispensable=wanted.dispensable,
        pace=wanted.pace,
    )


def _here(argument: str, wanted: Wanted) -> Engine:
    from mu.engines.here import here

    _no_argument("here", argument, "-W says how many workers")
    return here(wanted.workers, wanted.package("here"))


def _ssh(argument: str, wanted: Wanted) -> Engine:
    from mu.engines.ssh import ssh

    return ssh(
        argument,
        package=wanted.package("ssh"),
        arguments=wanted.arguments,
        tunnel=wanted.tunnel,
        workers=wanted.workers,
    )


def _slurm(argument: str, wanted: Wanted) -> Engine:
    from mu.engines.slurm import Slurm

    return Slurm(
        argument, package=wanted.package("slurm"), arguments=wanted.arguments, workers=wanted.workers
    )


def _microvm(argument: str, wanted: Wanted) -> Engine:
    from mu.engines.microvm import Microvms

    keys = None
    if wanted.access_key_id and wanted.secret_access_key:
        keys = (wanted.access_key_id, wanted.secret_access_key, None)
    return Microvms(
        argument, wanted.regions[0], workers=wanted.workers, arguments=wanted.arguments, keys=keys
    )


MAKERS: dict[str, Callable[[str, Wanted], Engine]] = {
    "lambda": _lambda,
    "here": _here,
    "ssh": _ssh,
    "slurm": _slurm,
    "microvm": _microvm,
}


def _of_ones_own(file: str, argument: str, wanted: Wanted) -> Engine:
    """Makes an engine from `FILE.py:CLASS[:ARGUMENT]`: a class or function, called with the argument and `wanted`."""
    name, _, rest = argument.partition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if not Path(file).is_file() or spec is None or spec.loader is None:
        raise UsageError(f"-e {file}:...: there is no file {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name)(rest, wanted)
    except MuError:
        raise
    except Exception as error:
        raise UsageError(f"-e {file}:{argument}: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(made, Engine):
        own = {*dir(Engine), "name"} - set(dir(BaseEngine))
        lacking = sorted(each for each in own if not each.startswith("_") and not hasattr(made, each))
        base = "" if isinstance(made, BaseEngine) else "its base class mu.engines.protocol.BaseEngine"
        raise UsageError(
            f"-e {file}:{argument} is not an engine: it lacks {', '.join(filter(None, [base, *lacking]))}"
        )
    return made


def _no_argument(name: str, argument: str, instead: str) -> None:
    if argument:
        raise UsageError(f"-e {name} takes nothing after its name: {instead}")
