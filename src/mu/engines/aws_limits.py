"""Reads AWS Lambda's limits from the service: workers at a time, and how old an event may become."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mu import aws
from mu.engines.protocol import Limit

logger = logging.getLogger(__name__)

ASSUMED = 1000  # workers at a time in a region: the default of AWS accounts
EVENT_AGE = 60.0  # seconds, as lambdaize sets it; assumed if it cannot be read
DEFAULT_EVENT_AGE = 21600.0  # seconds; Lambda's default for a function
PATIENCE = 6.0  # seconds that the start of a run waits for these answers


class Allowed(NamedTuple):
    """The limits in one region: workers at a time with the reason, and the seconds after which Lambda drops an
    event."""

    number: int
    reason: str
    event_age: float


def assumed(region: str, why: str) -> Allowed:
    """Returns the limits that are assumed for a region that does not answer."""
    return Allowed(ASSUMED, f"assumed for {region}: {why}", EVENT_AGE)


def ask(client: Any, function: str, region: str) -> Allowed:
    """Returns one region's limits; never raises."""
    try:
        number, reason = _concurrency(client, function, region)
    except Exception as error:  # a job must not fail because of any error here
        number, reason, _ = assumed(region, f"its limit could not be read ({_said(error)})")
    try:
        found = client.get_function_event_invoke_config(FunctionName=function)
        age = float(found.get("MaximumEventAgeInSeconds") or DEFAULT_EVENT_AGE)
    except Exception as error:
        age = DEFAULT_EVENT_AGE if aws.code(error) == "ResourceNotFoundException" else EVENT_AGE
    return Allowed(number, reason, age)


def ask_all(clients: Mapping[str, Any], function: str) -> dict[str, Allowed]:
    """Returns the limits of each region; all are asked at the same time, within PATIENCE."""
    found = {region: assumed(region, f"no answer within {PATIENCE:g} s") for region in clients}
    answers: dict[str, Allowed] = {}

    def one(region: str) -> None:
        answers[region] = ask(clients[region], function, region)

    threads = [threading.Thread(target=one, args=(region,), daemon=True) for region in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return found | dict(answers)


def total(allowed: Mapping[str, Allowed]) -> Limit:
    """Returns the limits of all regions together; the reason names each."""
    if len(allowed) == 1:
        (one,) = allowed.values()
        return Limit(one.number, one.reason)
    reasons = "; ".join(f"{one.number}: {one.reason}" for one in allowed.values())
    return Limit(sum(one.number for one in allowed.values()), reasons)


def _concurrency(client: Any, function: str, region: str) -> tuple[int, str]:
    reserved = None
    try:
        reserved = client.get_function_concurrency(FunctionName=function).get("ReservedConcurrentExecutions")
    except Exception as error:  # the account's limit applies in any case
        logger.debug("reserved concurrency of %s in %s: %s", function, region, _said(error))
    if reserved is not None:
        return int(reserved), f"reserved for function {function} in {region}"
    limits = client.get_account_settings()["AccountLimit"]
    return int(limits["UnreservedConcurrentExecutions"]), f"what the account allows in {region}"


def _said(error: Exception) -> str:
    return aws.code(error) or type(error).__name__


def spread(
    number: int, regions: Sequence[str], asked: dict[str, int], limits: Mapping[str, int]
) -> dict[str, int]:
    """Returns `number` more starts by region, as evenly as their limits permit.

    Starts beyond all limits are shared in proportion to the limits. `asked` has the starts so far, by region; it is
    updated.
    """

    def load(place: int) -> tuple[bool, float, int]:
        region = regions[place]
        limit = limits.get(region, ASSUMED)
        full = asked.get(region, 0) >= limit
        return full, asked.get(region, 0) / max(1, limit) if full else asked.get(region, 0), place

    shares: dict[str, int] = {}
    for _ in range(number):
        region = regions[min(range(len(regions)), key=load)]
        asked[region] = asked.get(region, 0) + 1
        shares[region] = shares.get(region, 0) + 1
    return {region: shares[region] for region in regions if region in shares}
