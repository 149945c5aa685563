"""The flags of coordinator scripts: but for a few, a flag exists when `ServerInfo` has its attribute."""

import argparse
import ipaddress
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mu.defs import Defs
from mu.errors import UsageError
from mu.outlet import say
from mu.parser import Parser
from mu.util import rand_str


def at_least(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A parser of integers within bounds."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not an integer") from None
        if number < minimum or (maximum is not None and number > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"{number} is not {bounds}")
        return number

    return parse


def above(minimum: float, what: str) -> Callable[[str], float]:
    """A parser of finite numbers above a minimum."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
        if not minimum < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what}")
        return number

    return parse


def listed(parse: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of comma-separated lists."""

    def parse_all(text: str) -> list[Any]:
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list without gaps")
        return [parse(word) for word in words]

    return parse_all


def bracketed(host: str) -> str:
    """A host as it stands before a colon and a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and can be reached from here only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def word(given: str) -> str:
    """A parser of texts: an empty one is most likely a shell variable that is not set."""
    if not given:
        raise argparse.ArgumentTypeError("it is empty")
    return given


class Flag(NamedTuple):
    """One flag: `parse` None makes it a switch."""

    short: str
    long: str
    attribute: str
    parse: Callable[[str], Any] | None
    metavar: str
    text: str


COUNT = at_least(0)
INTEGER = at_least(-(1 << 31))
MAX_PORT = 65535
PORT = at_least(0, MAX_PORT)
SECONDS = above(0, "a positive number of seconds")
QUANTIZER = at_least(0, 127)

FLAGS = (
    Flag("-O", "--out-file", "out_file", word, "FILE", "write the times of the state machines here"),
    Flag("-P", "--profile", "profiling", word, "FILE", "write cProfile data of the main loop here"),
    Flag("-n", "--parts", "num_parts", at_least(1, 1_000_000), "N", "number of workers"),
    Flag("-N", "--part-list", "num_list", listed(COUNT), "A,B,C", "exactly these parts; not with -n or -o"),
    Flag("-X", "--overprovision", "overprovision", COUNT, "N", "launch this many more workers than needed"),
    Flag("-f", "--frames", "num_frames", at_least(1), "N", "frames in each chunk"),
    Flag("-o", "--offset", "num_offset", COUNT, "N", "skip this many chunks"),
    Flag("-q", "--quality-values", "quality_values", listed(INTEGER), "A,B,C", "quality values"),
    Flag("-x", "--run-xcenc", "run_xcenc", None, "", "run xc-enc rather than vpxenc"),
    Flag("-Y", "--y-ac-qi", "quality_y", QUANTIZER, "N", "Y quantizer"),
    Flag("-S", "--s-ac-qi", "quality_s", QUANTIZER, "N", "S quantizer"),
    Flag("-K", "--keyframe-distance", "keyframe_distance", at_least(1), "K", "a keyframe every K chunks"),
    Flag("-u", "--upload-states", "upload_states", None, "", "upload the states, too"),
    Flag("-p", "--passes", "num_passes", listed(COUNT), "W,X,Y,Z", "passes in each phase"),
    Flag("-v", "--video", "video_name", word, "NAME", "name of the video"),
    Flag("-b", "--bucket", "bucket", word, "NAME", "S3 bucket of the inputs and outputs"),
    Flag("-i", "--in-format", "in_format", word, "NAME", "format of the input frames"),
    Flag("-t", "--port", "port_number", PORT, "PORT", "listen here (0: any free port)"),
    Flag("-a", "--host-addr", "host_addr", word, "ADDR", "this server's address, as workers reach it"),
    Flag("-H", "--state-host", "state_srv_addr", bracketed, "ADDR", "address of the relay"),
    Flag("-T", "--state-port", "state_srv_port", PORT, "PORT", "port of the relay"),
    Flag("-R", "--state-threads", "state_srv_threads", at_least(1), "N", "relays, on ports from -T on"),
    Flag("-l", "--function", "lambda_function", word, "NAME", "Lambda function to start"),
    Flag("-r", "--regions", "regions", listed(word), "A,B", "regions to start it in"),
    Flag("-m", "--kill-time", "kill_time", SECONDS, "SECONDS", "end a worker that is not finished by then"),
    Flag("", "--retries", "retries", COUNT, "N", "give a part that failed to another worker, so many times"),
    Flag(
        "",
        "--backup",
        "backup",
        above(1, "above 1"),
        "FACTOR",
        "second worker for parts that take FACTOR times the median",
    ),
    Flag(
        "", "--connect-timeout", "connect_timeout", SECONDS, "SECONDS", "how long to wait for missing workers"
    ),
    Flag("", "--resume", "resume", None, "", "skip parts whose outputs exist"),
    Flag("-M", "--hashed-names", "hashed_names", None, "", "S3 keys spread by their MD5"),
    Flag("-c", "--ca-cert", "cacert", word, "FILE", "CA certificate, PEM (or $CA_CERT)"),
    Flag("-s", "--server-cert", "srvcrt", word, "FILE", "this server's certificate (or $SRV_CERT)"),
    Flag("-k", "--server-key", "srvkey", word, "FILE", "its private key (or $SRV_KEY)"),
)
EVERY_SCRIPT = (
    Flag(
        "",
        "--record",
        "record_dir",
        word,
        "DIR",
        "leave a record of the run here, for mu timeline and mu stats",
    ),
    Flag("", "--quiet", "quiet", None, "", "say only what went wrong"),
    Flag("", "--verbose", "verbose", None, "", "say when each part begins and ends, and leave nothing out"),
    Flag("", "--no-cost", "no_cost", None, "", "no estimate of the cost"),
)
WORKER_FLAGS = (
    Flag("", "--worker-cert", "worker_cert", word, "FILE", "the workers' certificate (or $WORKER_CERT)"),
    Flag("", "--worker-key", "worker_key", word, "FILE", "its private key (or $WORKER_KEY)"),
)
KEY_VARIABLES = {
    "cacert": "CA_CERT",
    "srvcrt": "SRV_CERT",
    "srvkey": "SRV_KEY",
    "worker_cert": "WORKER_CERT",
    "worker_key": "WORKER_KEY",
}


def parse(info: Any, argv: Sequence[str] | None = None) -> None:
    """Read the command line into `info`, a class or object with the attributes of FLAGS.

    Afterwards the key attributes hold what travels (one-line bodies), made for this run if no files
    were given; `keys_of_run` tells which. A mistake prints one line and a hint, and exits with status 2.
    """
    parser = _parser(info)
    given = parser.parse_args(argv)
    if given.debug:
        Defs.debug = True
    values = {name: value for name, value in vars(given).items() if name != "debug"}
    try:
        _combine(info, values)
        for name, value in values.items():
            setattr(info, name, value)
        if hasattr(info, "quality_str") and values.keys() & {"quality_y", "quality_s"}:
            info.quality_str = _quality_name(info)
        if hasattr(info, "cacert") and (
            not hasattr(info, "keys_of_run") or values.keys() & KEY_VARIABLES.keys()
        ):
            _take_keys(info)
    except UsageError as error:
        parser.error(str(error))


def _parser(info: Any) -> Parser:
    main = sys.modules.get("__main__")
    parser = Parser(prog=Path(sys.argv[0]).name, description=getattr(main, "__doc__", None) or "")
    parser.add_argument("-D", "--debug", action="store_true", help="debug messages on stderr")
    for flag in _flags_of(info):
        names = [name for name in (flag.short, flag.long) if name]
        default = getattr(info, flag.attribute, None)
        if flag.parse is None:
            parser.add_argument(
                *names, dest=flag.attribute, action="store_true", default=argparse.SUPPRESS, help=flag.text
            )
            continue
        parser.add_argument(
            *names,
            dest=flag.attribute,
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
    """Check what flags say together, and add what follows from them."""
    for name in ("out_file", "profiling"):
        if values.get(name):
            _check_writable(Path(values[name]))
    if values.get("quiet") and values.get("verbose"):
        raise UsageError("--quiet and --verbose do not go together")
    if values.get("record_dir"):
        from mu import record

        record.prepare(values["record_dir"])
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
    if "num_passes" in values:
        minimum = getattr(info, "min_passes", (0, 0, 0, 0))
        passes = tuple(values["num_passes"])
        if len(passes) != len(minimum) or any(n < low for n, low in zip(passes, minimum, strict=True)):
            text = ",".join(map(str, minimum))
            raise UsageError(f"-p takes {len(minimum)} numbers of passes, at least {text}")
        values["num_passes"] = passes
        values["tot_passes"] = sum(passes)


def _check_relay(info: Any, values: dict[str, Any]) -> None:
    """UsageError if the relay's ports cannot be; port 0 is for a relay of the run's own."""
    first, number = (
        values.get(name, getattr(info, name, None)) for name in ("state_srv_port", "state_srv_threads")
    )
    if not isinstance(first, int) or not isinstance(number, int):
        return
    if first + number - 1 > MAX_PORT:
        raise UsageError(f"-T {first} and -R {number}: the last relay's port would be {first + number - 1}")
    if first == 0 and any(_key_files(info, values).values()):
        raise UsageError(
            "-T 0 is for a run that makes its own keys and relay: with key files name the relay's port"
        )


def _check_writable(path: Path) -> None:
    """UsageError if a file cannot be written here when the run is over; nothing is changed."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: no such directory")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: permission denied")


def _quality_name(info: Any) -> str:
    """`Y_S`, and `_kK` with a keyframe distance: what tells runs of different quality apart."""
    quality_s = getattr(info, "quality_s", None)
    distance = getattr(info, "keyframe_distance", None)
    name = f"{info.quality_y}_{'x' if quality_s is None else quality_s}"
    return name if distance is None else f"{name}_k{distance}"


def _key_files(info: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The key files that flags, the script or the environment name, by attribute."""
    return {
        name: values.get(name) or getattr(info, name, None) or os.environ.get(variable) or None
        for name, variable in KEY_VARIABLES.items()
    }


def _take_keys(info: Any) -> None:
    """Replace the key attributes, which name files, by the keys; without files make keys for this run."""
    from mu import keys

    files = _key_files(info, {})
    own = [files[name] for name in ("cacert", "srvcrt", "srvkey")]
    workers = [files["worker_cert"], files["worker_key"]]
    if not any(files.values()):
        job = keys.make_job_keys()
    elif not all(own):
        raise UsageError("a CA certificate, a server certificate and its key go together: give -c, -s and -k")
    elif any(workers) and not all(workers):
        raise UsageError("--worker-cert and --worker-key go together")
    else:
        info.run_id = rand_str(16)  # keys from files serve many runs: a worker says which one it is of
        job = keys.load_job_keys(*own, *workers)
        if job.worker_is_server:
            say(
                "warning: the server's own key is sent to the workers; "
                "give them one of their own: --worker-cert FILE --worker-key FILE"
            )
        elif job.worker_may_serve:
            say(
                f"warning: {workers[0]} is good for servers, too, so that a worker could pose as the coordinator: "
                "give workers a certificate for clients only, as 'mu genkeys' makes it"
            )
    info.keys_of_run = not any(files.values())
    info.cacert = job.ca
    info.srvcrt, info.srvkey = job.server.cert, job.server.key
    info.worker_cert, info.worker_key = job.worker.cert, job.worker.key
