"""The whole local engine, as a context manager.

    with LocalEngine() as engine:
        s3 = boto3.client("s3", **engine.client_arguments())

or, for programs that read the environment, `{**os.environ, **engine.environment()}`.
"""

import contextlib
import os
import resource
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from mu.console.files import hold, of_this_user, remove, remove_abandoned
from mu.console.terminal import say, visible
from mu.engines.ramp import LAMBDA, Ramp
from mu.errors import UsageError
from mu.local.account import CONCURRENCY, Account

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "AKIAMULOCALENGINE000", "local"  # any values work, since signatures are not checked
ROLE = "mu-local"
PREFIX = "mu-local-"  # of the name of an engine's directory
LOCK = ".lock"  # the file in it that the engine keeps locked
TRUST = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
    '"Principal": {"Service": "lambda.amazonaws.com"}}]}'
)


def print_report(text: str) -> None:
    """Prints a text on stderr, if possible; each of its lines is made safe for terminals."""
    with contextlib.suppress(OSError, ValueError):
        say("\n".join(map(visible, f"mu local: {text}".split("\n"))))


class LocalEngine:
    """Lambda, S3, IAM and STS on a port of 127.0.0.1 (`port` 0: any free one), from `start` to `stop`.

    `data` is a directory whose folders are buckets (bucket_files.py). `concurrency` is how many executions the
    account allows at a time in each region, `ramp` how fast a function may grow, and `clock_rate` by how much the
    clock of the account's delays is faster than real time. With `memory_limit`, functions are limited to their memory
    sizes. `programs` are the only ones on the functions' PATH (None: those of this machine). `logs` is the directory
    of the workers' logs (without it they are removed with the engine); `report` is called with texts for the user.
    When `cancelled` returns True, loading of `data` stops. `saved` tells, after `stop`, whether all that was new could
    be written to `data`; objects that could not be are then in a directory of which `report` was told.

    A process can have one engine at a time, and none beside `moto.mock_aws`. Raises UsageError if the port is taken,
    the directory does not exist or another engine uses it, no more threads can be started, or moto is not installed.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        data: Path | None = None,
        concurrency: int = CONCURRENCY,
        ramp: Ramp = LAMBDA,
        clock_rate: float = 1.0,
        memory_limit: bool = True,
        programs: Collection[str] | None = None,
        logs: Path | None = None,
        report: Callable[[str], None] = print_report,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.port = port
        self.endpoint_url = ""
        self.role_arn = ""
        self._data = data
        self._account = Account(concurrency, ramp)
        self._clock_rate = clock_rate
        self._memory_limit = memory_limit
        self._programs = programs
        self._logs = logs
        self._report = report
        self._cancelled = cancelled
        self.saved = True
        self._save: Callable[[], None] = lambda: None
        self.function_names: Callable[[], list[str]] = list
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the engine; when it returns, requests are answered. If it raises, nothing is left behind."""
        with contextlib.ExitStack() as stack:
            try:
                self._start(stack)
            except RuntimeError as error:
                if "start new thread" not in str(error):
                    raise
                raise UsageError(
                    "no more threads can be started: raise `ulimit -u` or `ulimit -v`"
                ) from error
            self._stack = stack.pop_all()

    def _start(self, stack: contextlib.ExitStack) -> None:
        try:
            from moto.core.models import DEFAULT_ACCOUNT_ID
            from moto.iam.models import iam_backends

            from mu.local import http_api, listing, moto_lambda, objects, web_server
            from mu.local.bucket_files import Data, lock
            from mu.local.function_files import Functions, names
        except ImportError as error:
            raise UsageError(f"the local engine needs {error.name}: install mu again with pip") from error
        from mu.local.executor import Executor

        if self._data:
            stack.callback(os.close, lock(self._data))
        if self._logs:
            _make_directory(self._logs)
        _raise_open_files()
        place = Path(_place_beyond_tmp() or tempfile.gettempdir())
        # Those of engines that were killed, and could not do it themselves.
        remove_abandoned(filter(of_this_user, place.glob(f"{PREFIX}*")), LOCK)
        directory, held = _own_directory(place)
        stack.callback(os.close, held)
        stack.callback(remove, directory, LOCK)
        server = web_server.Server(self.port)
        server.open()
        stack.callback(server.stop)
        self.port = server.bind_addr[1]
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        executor = Executor(
            directory,
            self._credentials(),
            account=self._account,
            clock_rate=self._clock_rate,
            memory_limit=self._memory_limit,
            programs=self._programs,
            logs=self._logs,
            report=self._report,
        )
        stack.callback(executor.close)
        bodies = directory / "objects"
        bodies.mkdir()
        stack.enter_context(objects.plug_in(bodies))
        stack.enter_context(listing.plug_in())
        stack.enter_context(moto_lambda.plug_in(executor, server.pool.lent))
        self.role_arn = (
            iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
            .create_role(
                role_name=ROLE,
                assume_role_policy_document=TRUST,
                path="/",
                permissions_boundary=None,
                description="",
                tags=[],
                max_session_duration="3600",
            )
            .arn
        )
        application = http_api.Application(self._report, self._account)
        self.function_names = names
        if self._data:
            data = Data(self._data, self._report)
            functions = Functions(self._data, self._report)

            def save(at_end: bool = False) -> None:
                with application.locks.held():
                    objects_saved = data.save()
                if at_end and not objects_saved:
                    data.rescue(place)
                self.saved = functions.save() and objects_saved

            data.load(self._cancelled)
            functions.load()
            self._save = save
            stack.callback(save, at_end=True)
        # At the end, callers that wait for workers first get an error, then requests end, and only then are the
        # buckets saved and moto emptied. Closing again, further up, does nothing.
        stack.callback(server.stop)
        stack.callback(executor.close)
        server.run(application)

    def stop(self) -> None:
        """Saves the data, ends all invocations, frees the port, and removes the temporary files."""
        self._stack.close()

    @property
    def keeps(self) -> bool:
        """Whether functions and objects are kept when the engine stops."""
        return self._data is not None

    def save(self) -> None:
        """Writes new and changed objects to the data directory now."""
        self._save()

    def _credentials(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def environment(self) -> dict[str, str]:
        """Returns the environment variables with which a program uses the engine instead of AWS."""
        region = {"AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}
        return {**self._credentials(), **region, "AWS_ROLE": self.role_arn, **_past_proxies()}

    def client_arguments(self) -> dict[str, str]:
        """Returns keyword arguments for `boto3.client` that reach the engine, whatever the environment is."""
        return {
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "region_name": REGION,
        }


def _place_beyond_tmp() -> str | None:
    """Returns a place for the engine's directory outside of /tmp, so that `rm -rf /tmp/*` in a worker does not find
    it.

    Returns None (the usual place) if there is no other.
    """
    usual = os.path.realpath(tempfile.gettempdir())
    for place in filter(os.path.isabs, (usual, "/var/tmp", os.path.expanduser("~/.cache"))):  # noqa: PTH111, S108
        below = f"{os.path.realpath(place)}/".startswith("/tmp/")  # noqa: S108
        if not below and os.access(place, os.W_OK | os.X_OK):
            return place
    return None


def _own_directory(place: Path) -> tuple[Path, int]:
    """Returns a new directory, and the descriptor of a file in it that is locked as long as this engine lives."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    return directory, hold(directory, LOCK)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--logs {path}: {error.strerror}") from error


def _past_proxies() -> dict[str, str]:
    """Returns variables that let programs reach the engine directly if a proxy is set; otherwise none."""
    if not any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return {}
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = f"{spared},127.0.0.1" if spared else "127.0.0.1"
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def _raise_open_files() -> None:
    """Raises the limit of open files as far as possible, for connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
