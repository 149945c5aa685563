"""The flags of coordinator scripts: but for a few, a flag exists when `ServerInfo` has its attribute."""

import argparse
import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mu.console.arguments import MAX_PORT, Parser, closest, listed
from mu.defs import Defs
from mu.errors import UsageError
from mu.server.flags import EVERY_SCRIPT, FLAGS, INTEGER, KEY_VARIABLES, REPEATED, WORKER_FLAGS, Flag
from mu.server.job_keys import key_files, take_keys

# What S3 takes as a name; buckets that are older than today's rules may have capitals, underscores and a long name.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
# Most people's, which need no look into boto3's own list: that takes a tenth of a second to load.
REGIONS = {"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"}
REGIONS |= {"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1"}
REGIONS |= {"ap-south-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1", "ap-northeast-2"}
NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA")


def parse(info: Any, argv: Sequence[str] | None = None) -> None:
    """Read the command line into `info`, a class or object with the attributes of FLAGS.

    Afterwards the key attributes hold what travels (one-line bodies), made for this run if no files
    were given; `keys_of_run` tells which. A mistake prints one line and a hint, and exits with status 2.
    """
    parser = _parser(info)
    words = sys.argv[1:] if argv is None else list(argv)
    _refuse_host_address(parser, words)
    given = parser.parse_args(words)
    if given.debug:
        Defs.debug = True
    values = {name: value for name, value in vars(given).items() if name != "debug"}
    try:
        _combine(info, values)
        for name, value in values.items():
            setattr(info, name, value)
        if hasattr(info, "quality_str") and hasattr(info, "quality_y"):
            info.quality_str = _quality_name(info)
        check_names(info)
        if hasattr(info, "cacert") and (
            not hasattr(info, "keys_of_run") or values.keys() & KEY_VARIABLES.keys()
        ):
            take_keys(info)
    except UsageError as error:
        parser.error(str(error))


def usage_str(info: Any) -> str:
    """The text of `--help` for a class or object with the attributes of FLAGS."""
    return _parser(info).format_help()


def to_numlist(text: str, numbers: list[int] | None = None) -> list[int]:
    """The integers of a comma-separated list, added to `numbers` if that is given; UsageError if it is none."""
    made = [] if numbers is None else numbers
    try:
        made += listed(INTEGER)(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from None
    return made


def check_names(info: Any) -> None:
    """UsageError if the bucket, a region or this server's address cannot be one.

    Workers would find out one by one, each at its cost.
    """
    bucket = getattr(info, "bucket", None)
    if isinstance(bucket, str) and bucket:
        check_bucket(bucket)
    address = getattr(info, "host_addr", None)
    if isinstance(address, str) and address:
        check_host(address)
    regions = getattr(info, "regions", None) or []
    for region in [regions] if isinstance(regions, str) else regions:
        check_region(region)


def check_host(host: str) -> None:
    """UsageError if the name is known to be nobody's; that it cannot be looked up here, now, says nothing."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_HOST:
            raise UsageError(
                f"there is no host {host!r}: workers could not find this server by that name"
            ) from None
    except UnicodeError:
        raise UsageError(f"there can be no host {host!r}") from None


def check_bucket(bucket: str) -> None:
    """UsageError if there can be no S3 bucket of this name, and it is no other store's either."""
    if bucket.startswith("file:"):
        if not bucket.startswith("file:///"):
            raise UsageError(f"bucket {bucket}: a directory is named by file:/// and its absolute path")
        return
    if re.fullmatch(r"s3\+https?://[^/]+/[^/]+", bucket):
        return
    if bucket.startswith("s3://"):
        name = bucket.removeprefix("s3://").partition("/")[0]
        raise UsageError(f"bucket {bucket}: give the name alone: {name or 'NAME'}")
    if not bucket.startswith("arn:") and not BUCKET.fullmatch(bucket):
        raise UsageError(
            f"there can be no bucket {bucket!r}: a name has 3 to 63 lower-case letters, digits, dots and hyphens"
        )


def check_region(region: str) -> None:
    """UsageError if AWS has no such region; with an endpoint of one's own, if it does not even look like one."""
    if not REGION.fullmatch(region):
        raise UsageError(f"there is no region {region!r}: one looks like us-east-1")
    if region in REGIONS or any(os.environ.get(name) for name in ENDPOINTS):
        return
    import botocore.session

    session = botocore.session.get_session()
    known = {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("lambda", partition)
    }
    if region not in known:
        guess = closest(region, known)
        raise UsageError(
            f"AWS has no region {region}"
            + (f": did you mean {guess}?" if guess else ", as far as boto3 knows")
        )


def _refuse_host_address(parser: Parser, words: Sequence[str]) -> None:
    """The original's later scripts took the host's address by -h, which must not end with help and status 0."""
    before = words[: words.index("--")] if "--" in words else words
    for place, word in enumerate(before):
        following = "".join(before[place + 1 : place + 2])
        if word.startswith("-h") and (word != "-h" or following[:1] not in ("-", "")):
            parser.error("-h is help; the address is -a")


def _parser(info: Any) -> Parser:
    main = sys.modules.get("__main__")
    parser = Parser(prog=Path(sys.argv[0]).name, description=getattr(main, "__doc__", None) or "")
    parser.absent = {
        name: f"there is no {name} here: this script's ServerInfo has no {flag.attribute}"
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
    """Check what flags say together, and add what follows from them."""
    for name in ("out_file", "profiling"):
        if values.get(name):
            check_writable(Path(values[name]))
    if values.get("quiet") and values.get("verbose"):
        raise UsageError("--quiet and --verbose do not go together")
    if values.get("record_dir"):
        from mu.history import record

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
    """UsageError if the relay's ports cannot be; port 0 is for a relay of the run's own."""
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


def check_writable(path: Path) -> None:
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
