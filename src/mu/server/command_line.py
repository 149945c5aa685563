"""The command line of coordinator scripts.

A flag exists only if `ServerInfo` has its attribute, except for a few flags that every script has.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mu.console.arguments import MAX_PORT, Parser, listed
from mu.console.debugging import follow_defs
from mu.console.terminal import say
from mu.defs import Defs
from mu.errors import MuError, UsageError
from mu.preflight import check_names
from mu.server.flags import EVERY_SCRIPT, FLAGS, INTEGER, KEY_VARIABLES, REPEATED, WORKER_FLAGS, Flag
from mu.server.job_keys import key_files, take_keys


def options(ServerInfo: Any, argv: Sequence[str] | None = None) -> None:
    """Reads the command line into `ServerInfo`; exits with status 2 if it is wrong.

    A flag exists only if `ServerInfo` has its attribute; `--help` lists them. Afterwards `cacert`, `srvcrt` and
    `srvkey` hold keys (one-line base64); they are made for this run if no files were named. `regions`, if the script
    has the attribute but names none, holds the default region.
    """
    end_quietly_on_interrupt()
    parse(ServerInfo, argv)
    if hasattr(ServerInfo, "regions") and not ServerInfo.regions:
        from mu import aws  # late: it loads boto3

        try:
            ServerInfo.regions = aws.regions(None)  # scripts put the first of them into their event
        except MuError as error:
            say(f"{Path(sys.argv[0]).name}: {error}")
            raise SystemExit(2) from None


def end_quietly_on_interrupt() -> None:
    """Makes Ctrl-C end the script without a traceback, until the main loop installs its own handler."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, _frame: sys.exit(128 + number))


def parse(info: Any, argv: Sequence[str] | None = None) -> None:
    """Reads the command line into `info`, a class or object with the attributes of FLAGS.

    Afterwards the key attributes hold the keys in the form in which they are sent (one-line bodies). If no key files
    were given, keys are made for this run and `keys_of_run` is true. A mistake prints one line and a hint, and exits
    with status 2.
    """
    parser = _parser(info)
    words = sys.argv[1:] if argv is None else list(argv)
    _refuse_host_address(parser, words)
    given = parser.parse_args(words)
    if given.debug:
        Defs.debug = True
    follow_defs()
    values = {name: value for name, value in vars(given).items() if name != "debug"}
    try:
        _combine(info, values)
        for name, value in values.items():
            setattr(info, name, value)
        if hasattr(info, "quality_str") and hasattr(info, "quality_y"):
            info.quality_str = _quality_name(info)
        check_names(
            bucket=getattr(info, "bucket", None),
            host=getattr(info, "host_addr", None),
            regions=getattr(info, "regions", None),
        )
        if hasattr(info, "cacert") and (
            not hasattr(info, "keys_of_run") or values.keys() & KEY_VARIABLES.keys()
        ):
            take_keys(info)
    except UsageError as error:
        parser.error(str(error))


def usage_str(info: Any) -> str:
    """Returns the text of `--help` for a class or object with the attributes of FLAGS."""
    return _parser(info).format_help()


def to_numlist(text: str, numbers: list[int] | None = None) -> list[int]:
    """Returns the integers of a comma-separated list, appended to `numbers` if given. Raises UsageError if one is
    none."""
    made = [] if numbers is None else numbers
    try:
        made += listed(INTEGER)(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from None
    return made


def _refuse_host_address(parser: Parser, words: Sequence[str]) -> None:
    """Refuses `-h ADDRESS` with exit status 2. The original's later scripts took the host's address by -h; printing
    the help and exiting with status 0 would hide that the job did not run."""
    before = words[: words.index("--")] if "--" in words else words
    for place, word in enumerate(before):
        following = "".join(before[place + 1 : place + 2])
        if word.startswith("-h") and (word != "-h" or following[:1] not in ("-", "")):
            parser.error("-h is help; the address is -a")


def _parser(info: Any) -> Parser:
    main = sys.modules.get("__main__")
    parser = Parser(prog=Path(sys.argv[0]).name, description=getattr(main, "__doc__", None) or "")
    lacks = getattr(
        info, "lacks", "this script's ServerInfo has no {}".format
    )  # a job of coroutines has no ServerInfo
    parser.absent = {
        name: f"there is no {name} here: {lacks(flag.attribute)}"
        for flag in (*FLAGS, *WORKER_FLAGS)
        for name in (flag.short, flag.long)
        if not hasattr(info, flag.attribute)
    }
    parser.add_argument("-D", "--debug", action="store_true", help="debug messages on stderr")
    for flag in _flags_of(info):
        names = [name for name in (flag.short, *flag.also, flag.long) if name]
        default = getattr(info, flag.attribute, None)
        if flag.parse is None:
            parser.add_argument(
                *names, dest=flag.attribute, action="store_true", default=argparse.SUPPRESS, help=flag.text
            )
            continue
        parser.add_argument(
            *names,
            dest=flag.attribute,
            action="append" if flag.attribute in REPEATED else "store",
            type=flag.parse,
            metavar=flag.metavar,
            default=argparse.SUPPRESS,
            help=flag.text if default is None else f"{flag.text} ({_shown(default)})",
        )
    return parser


def _flags_of(info: Any) -> Iterable[Flag]:
    for flag in FLAGS:
        if hasattr(info, flag.attribute):
            yield flag
    if hasattr(info, "cacert"):
        yield from WORKER_FLAGS
    yield from EVERY_SCRIPT


def _shown(default: Any) -> str:
    text = ",".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
    return text.replace("%", "%%")


def _combine(info: Any, values: dict[str, Any]) -> None:
    """Checks flags against each other, and adds the settings that follow from them."""
    check_reports(values)
    if "num_list" in values:
        for other, flag in (("num_parts", "-n"), ("num_offset", "-o")):
            if other in values:
                raise UsageError(f"-N gives the exact parts: it does not go together with {flag}")
        if len(set(values["num_list"])) < len(values["num_list"]):
            raise UsageError("-N names a part twice")
        values["num_parts"] = len(values["num_list"])
    elif "num_parts" in values and getattr(info, "num_list", None):
        raise UsageError(
            "this script names its parts itself: choose others with -N, not their number with -n"
        )
    _check_relay(info, values)
    if "quality_values" in values:
        values["quality_valstring"] = "_".join(map(str, values["quality_values"]))
    if "keyframe_distance" in values and hasattr(info, "num_passes"):
        values["num_passes"] = (1, values["keyframe_distance"], 0, 0)
        values["tot_passes"] = sum(values["num_passes"])
    elif "num_passes" in values:
        minimum = getattr(info, "min_passes", (0, 0, 0, 0))
        passes = tuple(values["num_passes"])
        if len(passes) != len(minimum) or any(n < low for n, low in zip(passes, minimum, strict=True)):
            text = ",".join(map(str, minimum))
            raise UsageError(f"-p takes {len(minimum)} numbers of passes, at least {text}")
        values["num_passes"] = passes
        values["tot_passes"] = sum(passes)


def _check_relay(info: Any, values: dict[str, Any]) -> None:
    """Raises UsageError if the relay's ports are impossible; port 0 needs a relay that the run starts itself."""
    first, number = (
        values.get(name, getattr(info, name, None)) for name in ("state_srv_port", "state_srv_threads")
    )
    if not isinstance(first, int) or not isinstance(number, int):
        return
    if first + number - 1 > MAX_PORT:
        raise UsageError(f"-T {first} and -R {number}: the last relay's port would be {first + number - 1}")
    if first == 0 and any(key_files(info, values).values()):
        raise UsageError(
            "-T 0 is for a run that makes its own keys and relay: with key files name the relay's port"
        )


def check_reports(values: Mapping[str, Any]) -> None:
    """Raises UsageError if a file that the run writes at its end could not be written, or it should say both less and
    more. Makes the record's directory."""
    for name in ("out_file", "profiling"):
        if values.get(name):
            check_writable(Path(values[name]))
    if values.get("record_dir"):
        from mu.history import record

        record.prepare(values["record_dir"])
    if values.get("quiet") and values.get("verbose"):
        raise UsageError("--quiet and --verbose do not go together")


def check_writable(path: Path) -> None:
    """Raises UsageError if no file could be written at `path` at the end of the run. Read-only."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: no such directory")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: permission denied")


def _quality_name(info: Any) -> str:
    """Returns `Y_S`, with `_kK` added if there is a keyframe distance: part of the names of the run's files."""
    quality_s = getattr(info, "quality_s", None)
    distance = getattr(info, "keyframe_distance", None)
    name = f"{info.quality_y}_{'x' if quality_s is None else quality_s}"
    return name if distance is None else f"{name}_k{distance}"
