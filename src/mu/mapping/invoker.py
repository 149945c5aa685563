"""Synchronous invocations for `--direct`, which wait until Lambda accepts them.

What Lambda's refusals mean is liblaunch's table, so that workers and direct invocations wait for the same things:

- 429 is waited for as long as it takes, since other invocations may be what Lambda is busy with;
- what may pass (5xx, a function that is being prepared), and requests without an answer, are asked for again,
  MOST_TRIES times in all, which takes about three minutes. Then the job ends if no other invocation goes on or was
  accepted meanwhile, otherwise this attempt;
- what all invocations would be refused for ends the job;
- expired credentials are looked for anew, once.

None of these requests counts as an attempt of the input. A read timeout is an error of the attempt, because the program
has probably run; so is a connection that is closed late.
"""

import base64
import json
import random
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from mu import aws
from mu.errors import MuError, one_line, reason
from mu.launch import meaning
from mu.wire import framing

MOST_WORKERS = 256  # invocations at a time without -W; each needs a thread
LARGEST_EVENT = 6 << 20  # bytes that Lambda allows for a synchronous invocation's event and response
LONGEST = 910  # seconds that an answer may take: a function has at most 900
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between tries
LONGEST_ASKED = 60  # seconds; the longest pause that an answer can ask for (Retry-After)
LATE = 60.0  # seconds; a request whose connection is still open then was probably accepted
KILLED = ("signal: killed", "OutOfMemory")
EXPIRED = ("ExpiredTokenException", "ExpiredToken")
ENDED = "the job has ended"
THROTTLED, TOO_LARGE = 429, 413  # HTTP statuses
# Nothing is sent while a program runs, and NAT gateways forget such a connection, AWS's after 350 s. botocore can only
# switch the probes on, whose first Linux sends after two hours. (macOS has another name for the time before the first.)
KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), 30)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL")
    if hasattr(socket, name)
]


class Answer(NamedTuple):
    """The result of an invocation: the answers, or an error.

    `final`: other attempts of this input would fail, too. `ends`: the job cannot go on, or has ended, and the input is
    as if it had not begun. `seconds` and `requests` are those that Lambda accepted, as far as is known, and bills.
    """

    answers: list[str]
    error: str = ""
    final: bool = False
    ends: bool = False
    seconds: float = 0.0
    requests: int = 0


class Refusal(NamedTuple):
    """A request without the function's answer. `status` is 0 if there was none; `ran`: the program may have run;
    `pause` is how long Lambda asked to wait (seconds)."""

    meaning: int
    text: str
    status: int = 0
    name: str = ""
    ran: bool = False
    pause: int = 0


class Invoker:
    """Invokes the function, from any thread. `busy` counts how often Lambda refused because of throttling, `waiting`
    the calls that wait for another try at present.

    Raises MuError if there can be no client.
    """

    def __init__(self, function: str, region: str, event: Mapping[str, Any]) -> None:
        self._function = function
        self._region = region
        self._event = dict(event)
        self._stopped = threading.Event()
        self._renewing = threading.Lock()  # protects `_client`, while credentials are looked for
        self._client = self._connect()
        self._renewed = False  # the client has new credentials, which have not been accepted yet
        self._lock = threading.Lock()  # protects the attributes below
        self._out: dict[int, float] = {}  # thread → when its present request began (monotonic clock)
        self._accepted = 0
        self._why = ""
        self.busy = 0
        self.waiting = 0

    def _connect(self) -> Any:
        client = aws.client(
            "lambda",
            self._region,
            retries={"total_max_attempts": 1},  # retries are made here
            read_timeout=LONGEST,
            max_pool_connections=MOST_WORKERS,
        )
        options = getattr(client._endpoint.http_session, "_socket_options", None)
        if isinstance(options, list):  # those of connections that will be made
            options += KEEP_ALIVE
        return client

    def stop(self) -> None:
        """Ends the waiting for another try, and begins no other invocation; what has been accepted goes on."""
        self._stopped.set()

    def going_on(self) -> list[float]:
        """Returns the seconds of each invocation that goes on."""
        now = time.monotonic()
        with self._lock:
            return [now - began for began in self._out.values()]

    def note(self) -> str:
        """Returns what is waited for, as an addition to a line of progress; may be empty."""
        with self._lock:
            if not self.waiting:
                return ""
            return self._why or f"; Lambda asked {self.busy:,} times to wait"

    def invoke(self, commands: list[str], ok: list[int]) -> Answer:
        """Does one invocation, and waits for its end."""
        coded = [base64.b64encode(framing.to_bytes(command)).decode() for command in commands]
        event = {**self._event, "mode": 2, "commands": coded, "ok": ok}
        payload = json.dumps(event).encode()
        if len(payload) > LARGEST_EVENT:
            return Answer(
                [],
                f"its commands have {len(payload):,} bytes, and Lambda accepts at most {LARGEST_EVENT:,}",
                True,
            )
        pause, tries, before = FIRST_PAUSE, 0, self._accepted
        seconds, requests = 0.0, 0
        while not self._stopped.is_set():
            client, began = self._client, time.monotonic()
            found = self._request(client, payload, began)
            took = time.monotonic() - began
            if isinstance(found, Answer) or found.ran:
                seconds, requests = seconds + took, requests + 1
            if isinstance(found, Answer):
                return found._replace(seconds=seconds, requests=requests)
            if found.name in EXPIRED:
                if not (failure := self._renew(client, found.text)):
                    continue
                return Answer([], failure, ends=True, seconds=seconds, requests=requests)
            tries += found.status != THROTTLED
            passes = found.meaning in (meaning.PASSES, meaning.SETTLES) and not (found.ran and took > LATE)
            if not passes:
                own = (
                    found.meaning != meaning.FINAL or found.status == TOO_LARGE
                )  # other inputs' may be accepted
                return Answer([], found.text, found.status == TOO_LARGE, not own, seconds, requests)
            if tries >= meaning.MOST_TRIES:
                text = f"{found.text} (asked {tries} times)"
                return Answer([], text, ends=self._nothing_since(before), seconds=seconds, requests=requests)
            wait = max(pause * random.uniform(0.5, 1), min(found.pause, LONGEST_ASKED))  # noqa: S311
            self._wait(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
        return Answer([], ENDED, ends=True, seconds=seconds, requests=requests)

    def _request(self, client: Any, payload: bytes, began: float) -> Answer | Refusal:
        thread = threading.get_ident()
        with self._lock:
            self._out[thread] = began
        try:
            found = request(client, self._function, payload)
        finally:
            with self._lock:
                del self._out[thread]
        with self._lock:
            accepted, throttled = isinstance(found, Answer), _is_throttled(found)
            self._accepted += accepted
            self.busy += throttled
            if (accepted or throttled) and client is self._client:
                self._renewed = False
            if isinstance(found, Refusal):
                self._why = "" if throttled else f"; Lambda is asked again: {found.text}"
        return found

    def _nothing_since(self, accepted: int) -> bool:
        """Returns whether no other invocation goes on, or was accepted since `_accepted` had this value."""
        now = time.monotonic()
        with self._lock:
            return self._accepted == accepted and all(now - began <= LATE for began in self._out.values())

    def _wait(self, seconds: float) -> None:
        """Waits until the job has ended, at most for so long."""
        with self._lock:
            self.waiting += 1
        try:
            self._stopped.wait(seconds)
        finally:
            with self._lock:
                self.waiting -= 1

    def _renew(self, refused: Any, text: str) -> str:
        """Looks for credentials anew if those of this client are still the present ones; returns why not, or an empty
        text."""
        with self._renewing:
            if refused is not self._client:
                return ""
            if self._renewed:
                return text
            aws.forget_session()
            try:
                self._client = self._connect()
            except MuError as error:
                return str(error)
            self._renewed = True
            return ""


def _is_throttled(found: Answer | Refusal) -> bool:
    return isinstance(found, Refusal) and found.status == THROTTLED


def request(client: Any, function: str, payload: bytes) -> Answer | Refusal:
    """Sends one request, and waits for its answer."""
    try:
        response = client.invoke(FunctionName=function, Payload=payload)
    except Exception as error:
        return refusal_of(error)
    try:
        text = response["Payload"].read()
    except Exception as error:  # it was accepted, and the answer was cut off
        return Answer([], reason(error))
    return answer_of(text, bool(response.get("FunctionError")))


def refusal_of(error: Exception) -> Refusal:
    """Returns what an exception of botocore's means."""
    from botocore import exceptions

    text = aws.failure(error)
    if isinstance(error, exceptions.ClientError):
        told: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
        status, name = int(told.get("HTTPStatusCode", 0)), aws.code(error)
        asked = str(told.get("HTTPHeaders", {}).get("retry-after", ""))
        pause = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
        return Refusal(meaning.meaning(status, name), text, status, name, pause=pause)
    if isinstance(error, exceptions.ReadTimeoutError):
        return Refusal(meaning.OWN, text, ran=True)
    if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Refusal(meaning.FINAL, text)
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return Refusal(meaning.SETTLES, text, ran=isinstance(error, exceptions.ConnectionClosedError))
    if isinstance(
        error, (exceptions.BotoCoreError, EOFError)
    ):  # the settings or the credentials of this machine
        return Refusal(meaning.FINAL, text)
    return Refusal(meaning.OWN, text)


def answer_of(text: bytes, failed: bool) -> Answer:
    """Returns the answers in a function's response; `failed` tells that it is a description of an error instead."""
    try:
        found = json.loads(text)
    except ValueError:
        shown = one_line(text[:100].decode(errors="replace"))
        return Answer([], f"the function's answer is not JSON: {shown}")
    if failed:
        said = str(found.get("errorMessage") or found) if isinstance(found, dict) else str(found)
        killed = any(map(said.__contains__, KILLED))
        return Answer([], "killed, probably out of memory" if killed else one_line(said))
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        try:
            return Answer([framing.to_text(base64.b64decode(each)) for each in found])
        except ValueError:
            return Answer([], "the function's answers are not Base64")
    return Answer([], f"the function returned no list of answers: {one_line(str(found)[:200])}")
