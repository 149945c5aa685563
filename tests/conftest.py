"""Makes the test process independent of how the suite was started, and has the fixtures that many tests share."""

import functools
import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings

# No deadline, so that a stalled machine fails no test; derandomized, so that each run tries the same examples.
settings.register_profile(
    "mu", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mu")

# Each botocore session reads its service descriptions anew, which takes most of the time of making a client, and the
# tests make hundreds of sessions. Sharing is safe, since clients of one session share the descriptions, too.
JSONFileLoader.load_file = staticmethod(functools.cache(JSONFileLoader().load_file))  # type: ignore[method-assign,assignment]

# Environment variables that programs under test read; they are removed, so that tests inherit none of them.
PREFIXES = ("AWS_", "MU_", "SLURM_", "LD_", "PYTHON")
NAMES = """
    ALLOW_LD ARCH CA_CERT CODE_BUCKET COLUMNS FORCE FORCE_COLOR FUNCTION_NAME LINES MEM_SIZE NO_COLOR REGION RUNTIME
    SKIP_UPLOAD SRV_CERT SRV_KEY TIMEOUT TMPDIR TMP_SIZE WORKER_CERT WORKER_KEY
""".split()  # noqa: SIM905 - a list to read
KEPT = ("MU_NO_BROWSER", "MU_TEST_PICTURES", "MU_C_TEST_LIMIT", "PYTHONHASHSEED")


def set_up_process() -> None:
    """Resets what this process inherits from a shell, a service manager or a background script: ignored and blocked
    signals, the umask, the limit on open files, a closed standard input, proxies and settings in the environment."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        os.fstat(0)
    except OSError:
        null = os.open(os.devnull, os.O_RDONLY)
        if null != 0:
            os.dup2(null, 0)
            os.close(null)
    for name in list(os.environ):
        inherited = name.startswith(PREFIXES) or name in NAMES or name.lower().endswith("_proxy")
        if inherited and name not in KEPT:
            del os.environ[name]
    tempfile.tempdir = None  # pytest may already have cached the value of TMPDIR
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.pop("TZ", None)
    # Tests must not read the AWS files of the user who runs the suite either.
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(Path(os.devnull))
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


set_up_process()


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Puts the handlers of SIGINT and SIGTERM back after each test: `server.options` installs one that stays."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
