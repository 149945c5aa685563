"""Reads AWS Lambda's limits from the service: workers at a time, and how old an event may become."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mu.engines.protocol import Limit
from mu.errors import UsageError
from mu.launch.queries import ACCOUNT, CONCURRENCY, EVENT_CONFIG, Ask, about, code

logger = logging.getLogger(__name__)

Answer = dict[str, Any] | Exception

ASSUMED = 1000  # workers at a time in a region: the default of AWS accounts
EVENT_AGE = 60.0  # seconds, as lambdaize sets it; assumed if it cannot be read
DEFAULT_EVENT_AGE = 21600.0  # seconds; Lambda's default for a function
PATIENCE = 6.0  # seconds that the start of a run waits for these answers
LATE = TimeoutError(f"no answer within {PATIENCE:g} s")


class Allowed(NamedTuple):
    """The limits in one region: workers at a time with the reason, and the seconds after which Lambda drops an
    event."""

    number: int
    reason: str
    event_age: float


def assumed(region: str, why: str) -> Allowed:
    """Returns the limits that are assumed for a region that does not answer."""
    return Allowed(ASSUMED, f"assumed for {region}: {why}", EVENT_AGE)


def ask_all(askers: Mapping[str, Ask], function: str) -> dict[str, Allowed]:
    """Returns the limits of each region, and never raises. `askers` are `queries.asker`'s, by region. All questions
    are asked at the same time; the answers are waited for at most PATIENCE."""
    paths = [about(path, function) for path in (CONCURRENCY, ACCOUNT, EVENT_CONFIG)]
    answers: dict[tuple[str, str], Answer] = {}

    def one(region: str, path: str) -> None:
        try:
            answers[region, path] = askers[region](path)
        except Exception as error:  # a job must not fail because of any error here
            answers[region, path] = error

    threads = [
        threading.Thread(target=one, args=(region, path), daemon=True) for region in askers for path in paths
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    found = dict(answers)
    return {
        region: read(region, function, *(found.get((region, path), LATE) for path in paths))
        for region in askers
    }


def read(region: str, function: str, concurrency: Answer, account: Answer, event: Answer) -> Allowed:
    """Returns what the three answers about a region mean; never raises."""
    try:
        age = float(_document(event).get("MaximumEventAgeInSeconds") or DEFAULT_EVENT_AGE)
    except Exception as error:
        age = DEFAULT_EVENT_AGE if code(error) == "ResourceNotFoundException" else EVENT_AGE
    try:
        reserved = _document(concurrency).get("ReservedConcurrentExecutions")
        if reserved is not None:
            return Allowed(int(reserved), _reserved(function, region), age)
    except Exception as error:  # the account's limit applies in any case
        logger.debug("reserved concurrency of %s in %s: %s", function, region, code(error))
    try:
        number = int(_document(account)["AccountLimit"]["UnreservedConcurrentExecutions"])
    except Exception as error:
        why = str(LATE) if error is LATE else f"its limit could not be read ({code(error)})"
        return assumed(region, why)._replace(event_age=age)
    return Allowed(number, f"what the account allows in {region}", age)


def _document(answer: Answer) -> dict[str, Any]:
    """Returns an answer; raises it if it is an exception."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def total(allowed: Mapping[str, Allowed]) -> Limit:
    """Returns the limits of all regions together; the reason names each."""
    if len(allowed) == 1:
        (one,) = allowed.values()
        return Limit(one.number, one.reason)
    reasons = "; ".join(f"{one.number}: {one.reason}" for one in allowed.values())
    return Limit(sum(one.number for one in allowed.values()), reasons)


def check(allowed: Mapping[str, Allowed], function: str) -> None:
    """Raises UsageError if no worker may run in any region: a run would wait in vain."""
    if not allowed or any(one.number > 0 for one in allowed.values()):
        return
    region, one = next(iter(allowed.items()))
    if one.reason == _reserved(function, region):
        raise UsageError(
            f"function {function} may not run: its reserved concurrency in {region} is 0, as the console's button"
            f" Throttle sets it. Allow it again: aws lambda delete-function-concurrency --region {region}"
            f" --function-name {function}"
        )
    raise UsageError(
        f"function {function} may not run: 0 workers at a time are {one.reason}. Reserve less for other functions,"
        " or ask AWS for a higher limit (mu doctor)"
    )


def _reserved(function: str, region: str) -> str:
    return f"reserved for function {function} in {region}"


def spread(
    number: int, regions: Sequence[str], taken: Mapping[str, int], limits: Mapping[str, int]
) -> dict[str, int]:
    """Returns `number` more starts by region, as evenly as their limits permit.

    Starts beyond all limits are shared in proportion to the limits. `taken` has the workers, by region, that run there
    or may still come.
    """
    taken = dict(taken)

    def load(place: int) -> tuple[bool, float, int]:
        region = regions[place]
        limit = limits.get(region, ASSUMED)
        full = taken.get(region, 0) >= limit
        return full, taken.get(region, 0) / max(1, limit) if full else taken.get(region, 0), place

    shares: dict[str, int] = {}
    for _ in range(number):
        region = regions[min(range(len(regions)), key=load)]
        taken[region] = taken.get(region, 0) + 1
        shares[region] = shares.get(region, 0) + 1
    return {region: shares[region] for region in regions if region in shares}
