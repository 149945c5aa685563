"""Workers in AWS Lambda MicroVMs (boto3's `lambda-microvms`): up to 8 hours and 32 GB, for parts too big for Lambda.

Each MicroVM runs one worker. It is made from the user's image, in which the package's pilot waits for the hook that
the service calls at the start (`python3 -m mu.pilot --hooks PORT`, see docs/engines.md); the event is in that call
(`runHookPayload`). A MicroVM whose worker has ended is terminated; at the end of the run, all remaining ones are.

This module was never run against the service: the tests use botocore's stub of its published model.
"""

import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mu import aws
from mu.engines.address import towards_endpoint
from mu.engines.protocol import Limit, assumed
from mu.engines.starts import CountedEngine, Starts
from mu.errors import MuError, UsageError, reason

logger = logging.getLogger(__name__)

SERVICE = "lambda-microvms"
ASSUMED = 100  # workers at a time without -W
LONGEST = 28800  # seconds; the service's limit for a MicroVM's life
PAYLOAD_MAX = 4096  # characters of runHookPayload, from botocore's model
THREADS = 8  # number of threads, so of requests at a time
POLL = 5.0  # seconds between two listings of running MicroVMs
UNLISTED = 60.0  # seconds after its start in which a MicroVM may be missing in listings, which need not be up to date
LINGER = 15.0  # seconds that the end of a run waits for MicroVMs to be terminated
OVER = {"TERMINATING", "TERMINATED"}
# The parameters of RunMicrovm that `--engine-args` may set, as NAME=VALUE; those of LISTS are separated by commas.
TEXTS = ("executionRoleArn", "imageVersion", "kmsKeyIdentifier")
LISTS = ("egressNetworkConnectors", "ingressNetworkConnectors")


class Microvms(CountedEngine):
    """The engine for one image, an ARN or an id; `arguments` are words such as `executionRoleArn=ARN`. Raises
    UsageError at once if botocore does not know the service."""

    name = "microvm"

    def __init__(
        self,
        image: str,
        region: str,
        *,
        workers: int | None = None,
        arguments: Sequence[str] = (),
        keys: tuple[str, str, str | None] | None = None,
        client: Any = None,
    ) -> None:
        if not image:
            raise UsageError(
                "-e microvm needs an image, by its ARN or its id: -e microvm:ARN (see docs/engines.md)"
            )
        self._image = image
        self._settings = parameters(arguments)
        self._workers = workers
        self._client = make_client(region, keys) if client is None else client
        self._event: dict[str, Any] = {}
        # The names are idempotency tokens, too: the service treats two requests with the same token as one.
        self.starts = Starts(f"microvm-{secrets.token_hex(4)}")
        self._lock = threading.Lock()
        self._machines: dict[str, str] = {}  # worker's name → MicroVM's id
        self._unlisted: dict[str, float] = {}  # MicroVMs that no listing has had yet → when they were started
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._failure: str | None = None

    def limit(self) -> Limit:
        """Returns the limit of `-W`; the service does not tell its own."""
        return assumed(self._workers, ASSUMED, "MicroVMs")

    def own_address(self) -> str:
        """Returns the address of the interface that routes to the service."""
        return towards_endpoint(self._client.meta.endpoint_url)

    def start(self, event: str, number: int) -> None:
        """Begins to run MicroVMs, in threads. Raises UsageError if the event is too long for their hook."""
        self._event = json.loads(event)
        size = len(self._payload(f"{'x' * 40}"))
        if size > PAYLOAD_MAX:
            raise UsageError(
                f"the event has {size} characters, but a MicroVM takes {PAYLOAD_MAX}: let the run make its own keys, "
                "which are short"
            )
        self.more(number)

    def more(self, number: int) -> None:
        """Runs this many more MicroVMs."""
        if number < 1:
            return
        self.starts.ask(number)
        if not self._threads:
            for target in (self._watch, *[self._work] * THREADS):
                self._threads.append(threading.Thread(target=target, name="microvm", daemon=True))
                self._threads[-1].start()
        for _ in range(number):
            self._jobs.put(self._run_one)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Terminates the MicroVM of a worker that has ended. A MicroVM that the worker did not name ends by itself."""
        name = str(facts.get("request_id"))
        self._jobs.put(lambda: self._terminate(name))

    def failure(self) -> str | None:
        """Returns why no more workers will come: the service runs none, or all workers end before they connect."""
        return self._failure or super().failure()

    def note(self) -> str:
        """Returns how many MicroVMs are still to be run."""
        waiting = self.starts.waiting
        return f"; {self.asked - waiting} of {self.asked} MicroVMs run" if waiting else ""

    def cancel(self) -> None:
        """Stops running MicroVMs."""
        self._over.set()

    def wait(self) -> None:
        """Terminates all remaining MicroVMs."""
        self._over.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(LINGER / len(self._threads))
        with self._lock:
            left = list(self._machines)
        for name in left:
            self._terminate(name)

    def _payload(self, name: str) -> str:
        return json.dumps({"event": self._event, "name": name}, separators=(",", ":"))

    def _work(self) -> None:
        """Makes requests; each thread runs this."""
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # any error must be reported
                self._failure = aws.failure(error) if isinstance(error, aws.ERRORS) else reason(error)

    def _run_one(self) -> None:
        names = [] if self._over.is_set() else self.starts.take(1)
        for name in names:
            try:
                made = self._client.run_microvm(
                    imageIdentifier=self._image,
                    runHookPayload=self._payload(name),
                    maximumDurationInSeconds=LONGEST,
                    clientToken=name,
                    **self._settings,
                )
            except aws.ERRORS as error:
                self._failure = f"cannot run MicroVM image {self._image}: {aws.failure(error)}"
                self.starts.ended(name, self._failure)
            else:
                with self._lock:
                    self._machines[name] = made["microvmId"]
                    self._unlisted[made["microvmId"]] = time.monotonic()

    def _terminate(self, name: str) -> None:
        with self._lock:
            machine = self._machines.pop(name, None)
            self._unlisted.pop(machine or "", None)
        if machine is None:
            return
        self.starts.ended(name)
        try:
            self._client.terminate_microvm(microvmIdentifier=machine)
        except aws.ERRORS as error:
            logger.debug("microvm %s: %s", machine, aws.failure(error))

    def _watch(self) -> None:
        """Polls, until the run is over, which MicroVMs have ended."""
        while not self._over.wait(POLL):
            try:
                self.look()
            except Exception as error:  # the next poll may succeed
                logger.debug("microvm: %s", reason(error))

    def look(self) -> None:
        """Records the MicroVMs that have ended. Raises botocore's exceptions."""
        with self._lock:
            known = {machine: name for name, machine in self._machines.items()}
        states: dict[str, str] = {}
        for page in self._client.get_paginator("list_microvms").paginate(imageIdentifier=self._image):
            states.update((item["microvmId"], item["state"]) for item in page["items"])
        now = time.monotonic()
        for machine, name in known.items():
            with self._lock:
                if machine in states:
                    self._unlisted.pop(machine, None)
                elif machine in self._unlisted and now < self._unlisted[machine] + UNLISTED:
                    continue
                if states.get(machine, "TERMINATED") not in OVER:
                    continue
                self._machines.pop(name, None)
                self._unlisted.pop(machine, None)
            self.starts.ended(name)


def parameters(words: Sequence[str]) -> dict[str, Any]:
    """Returns the parameters of RunMicrovm that words of the form NAME=VALUE set. Raises UsageError for others."""
    made: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and value and name in (*TEXTS, *LISTS)):
            allowed = ", ".join((*TEXTS, *LISTS))
            raise UsageError(
                f"--engine-args {word}: a MicroVM takes NAME=VALUE, where NAME is one of {allowed}"
            )
        made[name] = value.split(",") if name in LISTS else value
    return made


def make_client(region: str, keys: tuple[str, str, str | None] | None = None) -> Any:
    """Returns a client of the service. Raises UsageError if this botocore does not know it."""
    from botocore.exceptions import UnknownServiceError

    try:
        return aws.client(SERVICE, region, keys=keys)
    except (MuError, UnknownServiceError) as error:
        if "Unknown service" in str(error):
            import botocore

            raise UsageError(
                f"botocore {botocore.__version__} does not know Lambda MicroVMs: pip install --upgrade boto3"
            ) from None
        raise
