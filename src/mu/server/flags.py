"""The table of a coordinator's flags."""

import argparse
import ipaddress
from collections.abc import Callable
from typing import Any, NamedTuple

from mu.console.arguments import PORT, SECONDS, above, at_least, listed, word
from mu.engines import ramp
from mu.engines.by_name import NAMES
from mu.preflight import DEFAULT_REGION

# Attributes whose flags may be given several times.
REPEATED = ("engine",)


def bracketed(host: str) -> str:
    """Returns a host in the form that `:PORT` can follow: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def relay_host(given: str) -> str:
    """Parses the address of the relay, a name or an IP address; the port has a flag of its own."""
    host = word(given)
    if ":" in host or "[" in host:
        inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            ipaddress.IPv6Address(inner)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"'{host}' is neither a name nor an IP address; the port goes with -T"
            ) from None
    return bracketed(host)


class Flag(NamedTuple):
    """One flag of a coordinator script. With `parse` None it is a switch without a value."""

    short: str
    long: str
    attribute: str
    parse: Callable[[str], Any] | None
    metavar: str
    text: str
    also: tuple[str, ...] = ()  # other names that are accepted and not documented


COUNT = at_least(0)
INTEGER = at_least(-(1 << 31))
QUANTIZER = at_least(0, 127)


FLAGS = (
    Flag("-O", "--out-file", "out_file", word, "FILE", "write the times of the state machines here"),
    Flag("-P", "--profile", "profiling", word, "FILE", "write cProfile data of the main loop here"),
    Flag("-n", "--parts", "num_parts", at_least(1, 1_000_000), "N", "number of parts"),
    Flag("-N", "--part-list", "num_list", listed(COUNT), "A,B,C", "exactly these parts; not with -n or -o"),
    Flag("-X", "--overprovision", "overprovision", COUNT, "N", "launch this many more workers than needed"),
    Flag("-f", "--frames", "num_frames", at_least(1), "N", "frames in each chunk"),
    Flag("-o", "--offset", "num_offset", COUNT, "N", "skip this many chunks"),
    Flag("-q", "--quality-values", "quality_values", listed(INTEGER), "A,B,C", "quality values"),
    Flag("-x", "--run-xcenc", "run_xcenc", None, "", "run xc-enc rather than vpxenc"),
    Flag("-Y", "--y-ac-qi", "quality_y", QUANTIZER, "N", "Y quantizer"),
    Flag("-S", "--s-ac-qi", "quality_s", QUANTIZER, "N", "S quantizer"),
    Flag("-K", "--keyframe-distance", "keyframe_distance", at_least(1), "K", "a keyframe every K chunks"),
    Flag("-u", "--upload-states", "upload_states", None, "", "upload the states, too", ("-U",)),
    Flag("-p", "--passes", "num_passes", listed(COUNT), "W,X,Y,Z", "passes in each phase"),
    Flag("-v", "--video", "video_name", word, "NAME", "name of the video"),
    Flag("-b", "--bucket", "bucket", word, "NAME", "S3 bucket of the inputs and outputs"),
    Flag("-i", "--in-format", "in_format", word, "NAME", "format of the input frames"),
    Flag("-t", "--port", "port_number", PORT, "PORT", "listen here (0: any free port)"),
    Flag("-a", "--host-addr", "host_addr", word, "ADDR", "this server's address, as workers reach it"),
    Flag("-H", "--state-host", "state_srv_addr", relay_host, "ADDR", "address of the relay"),
    Flag("-T", "--state-port", "state_srv_port", PORT, "PORT", "port of the relay"),
    Flag("-R", "--state-threads", "state_srv_threads", at_least(1), "N", "relays, on ports from -T on"),
    Flag("-l", "--function", "lambda_function", word, "NAME", "Lambda function to start"),
    Flag(
        "-r",
        "--regions",
        "regions",
        listed(word),
        "A,B",
        f"regions to start it in (default: {DEFAULT_REGION})",
        ("--region",),
    ),
    Flag("-m", "--kill-time", "kill_time", SECONDS, "SECONDS", "end a worker that is not finished by then"),
    Flag("", "--retries", "retries", COUNT, "N", "give a failed part to another worker up to N times"),
    Flag(
        "",
        "--backup",
        "backup",
        above(1, "above 1"),
        "FACTOR",
        "second worker for parts that take FACTOR times the median",
    ),
    Flag("", "--part-timeout", "part_timeout", SECONDS, "SECONDS", "no part for workers with less time left"),
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
        "-e",
        "--engine",
        "engine",
        word,
        "ENGINE",
        f"where workers run: {NAMES} (or $MU_ENGINE; may be given several times)",
    ),
    Flag(
        "",
        "--engine-args",
        "engine_args",
        word,
        "ARGS",
        "arguments for ssh, sbatch, or microvm, as in a shell",
    ),
    Flag(
        "",
        "--tunnel",
        "tunnel",
        None,
        "",
        "-e ssh: bring this server's port along (ssh -R)",
    ),
    Flag(
        "",
        "--ramp",
        "ramp",
        ramp.parse,
        "N,RATE",
        "-e lambda: N at once, then RATE a second, or off (1000,100)",
    ),
    Flag(
        "-W", "--workers", "workers", at_least(1), "N", "workers at a time (as many as parts, and as may be)"
    ),
    Flag(
        "",
        "--record",
        "record_dir",
        word,
        "DIR",
        "leave a record of the run here, for mu watch, mu timeline and mu stats",
    ),
    Flag("", "--quiet", "quiet", None, "", "say only what went wrong"),
    Flag(
        "",
        "--output",
        "output_dir",
        word,
        "DIR",
        "keep what programs print here: a file for each part and attempt, of 64 MiB at most",
    ),
    Flag(
        "",
        "--verbose",
        "verbose",
        None,
        "",
        "say when each part begins and ends and what its programs print, and leave no failure out",
    ),
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
