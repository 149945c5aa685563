"""Makes the engine that a script's `ServerInfo` asks for."""

from typing import Any

from mu.engines import by_name, ramp
from mu.engines.protocol import Engine
from mu.preflight import listed_regions
from mu.server.settings import Settings


def engine_of(
    info: Any,
    settings: Settings,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    *,
    default: str = "lambda",
) -> Engine:
    """Returns the engine of `info.engine`: a name as for `-e`, a list of names, or an engine object.

    Without it, $MU_ENGINE names the engine, and without that `default`. Raises UsageError or MuError if the engine
    cannot be made.
    """
    chosen = getattr(info, "engine", None)
    if chosen is not None and isinstance(chosen, Engine):
        return chosen
    wanted = by_name.Wanted(
        function=getattr(info, "lambda_function", None) or "",
        named_regions=listed_regions(getattr(info, "regions", None)),
        workers=settings.workers,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        dispensable=settings.overprovision,
        pace=getattr(info, "ramp", None) or ramp.LAMBDA,
        arguments=by_name.words(getattr(info, "engine_args", None)),
        tunnel=bool(getattr(info, "tunnel", False)),
    )
    return by_name.all_of(chosen, wanted, default)
