"""What many tests share, and a process that is the same however the suite was started."""

import functools
import os
import resource
import signal
import tempfile
from pathlib import Path

from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings

# A machine that stands still for a moment must not fail a test, and each run of the suite tries the same examples.
settings.register_profile(
    "mu", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mu")

# Each session of botocore reads its descriptions of services anew, which is most of the time that a client takes to
# make, and here there are hundreds of sessions. Clients of one session share them, too.
JSONFileLoader.load_file = staticmethod(functools.cache(JSONFileLoader().load_file))  # type: ignore[method-assign,assignment]

# Variables that programs under test read; none of them is the suite's to inherit.
PREFIXES = ("AWS_", "MU_", "SLURM_", "LD_", "PYTHON")
NAMES = """
    ALLOW_LD ARCH CA_CERT CODE_BUCKET COLUMNS FORCE FORCE_COLOR FUNCTION_NAME LINES MEM_SIZE NO_COLOR REGION RUNTIME
    SKIP_UPLOAD SRV_CERT SRV_KEY TIMEOUT TMPDIR TMP_SIZE WORKER_CERT WORKER_KEY
""".split()  # noqa: SIM905 - a list to read
KEPT = ("MU_NO_BROWSER", "MU_TEST_PICTURES", "MU_C_TEST_LIMIT", "PYTHONHASHSEED")


def set_up_process() -> None:
    """Undo what a shell, a service manager or a script in the background may have left: ignored and blocked signals, a
    umask, few open files, a closed standard input, proxies and settings in the environment."""
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
    tempfile.tempdir = None  # pytest itself may have looked at TMPDIR by now
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.pop("TZ", None)
    # The ordinary AWS files of whoever runs the suite are not its business either.
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(Path(os.devnull))
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


set_up_process()
