"""The suite does not depend on how it was started: in the background, by a service, behind a proxy."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TELL = """
import json, os, signal, tempfile
tempfile.gettempdir()
import tests.conftest
umask = os.umask(0)
print(json.dumps({
    "ignored": [n for n in (1, 2, 15, 17) if signal.getsignal(n) == signal.SIG_IGN],
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "umask": umask,
    "stdin": os.path.exists("/proc/self/fd/0"),
    "odd": sorted(
        n for n in os.environ if n.lower().endswith("_proxy") or n in ("AWS_PROFILE", "MEM_SIZE", "REGION", "TZ")
    ),
    "blank": " " in tempfile.gettempdir(),
}))
"""


def test_nothing_is_inherited(tmp_path: Path) -> None:
    def spoil() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR1})
        os.umask(0o077)
        os.close(0)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    spoilt = {"https_proxy": "http://x:1", "HTTP_PROXY": "http://x:1", "AWS_PROFILE": "none", "MEM_SIZE": "1"}
    (tmp_path / "a place").mkdir()
    spoilt |= {"TZ": "Asia/Kathmandu", "TMPDIR": str(tmp_path / "a place")}
    done = subprocess.run(
        [sys.executable, "-c", TELL],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "REGION": "x", **spoilt},
        preexec_fn=spoil,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "ignored": [], "blocked": 0, "umask": 0o022, "stdin": True, "odd": [], "blank": False,
    }  # fmt: skip
