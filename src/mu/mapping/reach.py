"""Whether workers on AWS can connect back to this machine, and what a map does where they cannot."""

import ipaddress

from mu.console.system import LOOP, only_linux
from mu.engines.protocol import Engine
from mu.errors import UsageError
from mu.mapping.settings import LAMBDA, Given
from mu.preflight import has_own_endpoint


def why_direct(engine: Engine, given: Given) -> str:
    """Why a map goes on as with --direct although it was not given: only -e lambda can."""
    if given.engine != (LAMBDA,):
        return ""
    if why := only_linux(LOOP):
        return f"the coordinator does not run here: {why}"
    if why := unreachable(engine, given):
        return f"workers cannot connect to this machine: {why}"
    return ""


def unreachable(engine: Engine, given: Given) -> str:
    """Returns why workers on AWS cannot connect to this machine; an empty text if they may be able to."""
    if given.address or has_own_endpoint():
        return ""
    try:
        address = engine.own_address()
    except UsageError as error:
        return str(error)
    if ipaddress.ip_address(address).is_global:
        return ""
    return f"this machine's address, {address}, is not a public one (-a gives another)"
