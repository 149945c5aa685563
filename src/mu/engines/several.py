"""Several engines in one job: adds up their counts, and starts each worker where most room is."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mu.engines.headcount import Headcount
from mu.engines.protocol import BaseEngine, Engine, Launches, Limit, Progress, added_up

if TYPE_CHECKING:
    from mu.launch.queries import Ask

OPEN = 1 << 30  # room of an engine without a limit


class Several(BaseEngine):
    """One engine made of others.

    A worker's hello tells its engine, if that engine names its workers. Other workers are counted for the engine from
    which most are missing, among those that do not name theirs if there are any.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = list(engines)
        self.name = "+".join(engine.name for engine in engines)
        self._counts = [Headcount(engine) for engine in self.engines]
        self._limits: list[Limit] | None = None
        self._told: set[str] = set()  # names of engines whose failure was printed

    @property
    def asked(self) -> int:
        """How many workers all engines are to start together."""
        return sum(engine.asked for engine in self.engines)

    @property
    def pending(self) -> int:
        """How many workers wait in the queues of the engines' systems."""
        return sum(engine.pending for engine in self.engines)

    @property
    def regions(self) -> list[str]:
        """The AWS regions in which any of the engines starts workers."""
        return [region for engine in self.engines for region in engine.regions]

    @property
    def secrets(self) -> list[str]:
        """The secrets that any of the engines has used."""
        return [text for engine in self.engines for text in engine.secrets]

    @property
    def launches(self) -> Launches:
        """The starts of the engine that numbers them; there is at most one, AWS Lambda's."""
        return next((found for engine in self.engines if any(found := engine.launches)), Launches())

    @property
    def requests(self) -> int:
        """How many starts AWS Lambda bills."""
        return sum(engine.requests for engine in self.engines)

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether the worker is certainly one of an engine's."""
        return any(engine.owns(facts) for engine in self.engines)

    def bills(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether AWS Lambda bills the worker. One that no engine owns is taken for one of Lambda's."""
        owners = [engine for engine in self.engines if engine.owns(facts)]
        return any(engine.bills(facts) for engine in owners or self.engines)

    def asker(self) -> "Ask | None":
        """Returns that of the engine for AWS Lambda, if there is one."""
        return next((ask for engine in self.engines if (ask := engine.asker()) is not None), None)

    def news(self) -> list[str]:
        """Returns the engines' new lines to print, and which of them have failed since."""
        found: list[str] = []
        for engine in self.engines:
            found += engine.news()
            failure = engine.failure()
            if failure is not None and engine.name not in self._told:
                self._told.add(engine.name)
                found.append(f"engine {engine.name}: {failure}")
        return found

    @property
    def progress(self) -> Progress | None:
        """The progress of all engines together."""
        told = [progress for engine in self.engines if (progress := engine.progress) is not None]
        return added_up(*told) if told else None

    def start(self, event: str, number: int) -> None:
        """Begins to start workers, wherever there is room."""
        for engine, share in zip(self.engines, self._shares(number), strict=True):
            engine.start(event, share)

    def more(self, number: int) -> None:
        """Starts this many more workers, wherever there is room."""
        for engine, share in zip(self.engines, self._shares(number), strict=True):
            if share:
                engine.more(share)

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Records the hello of a worker of one of the engines."""
        self._owner(facts, lambda count: count.missing).shown(facts)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Records the end of a worker of one of the engines."""
        self._owner(facts, lambda count: count.connected).left(facts)

    def give_up(self) -> None:
        """Expects none of the engines' workers any longer that have not connected."""
        for count in self._counts:
            count.give_up()

    def lost(self, now: float) -> int:
        """Returns how many workers will not connect, including those that a failed engine has not started."""
        for count in self._counts:
            count.lost = count.missing if count.engine.failure() is not None else count.engine.lost(now)
        return sum(count.lost for count in self._counts)

    def failure(self) -> str | None:
        """Returns why there will be no more workers, once all engines have failed."""
        failures = [engine.failure() for engine in self.engines]
        if None in failures:
            return None
        return "; ".join(f"{engine.name}: {why}" for engine, why in zip(self.engines, failures, strict=True))

    def note(self) -> str:
        """Returns the notes of all engines."""
        notes = []
        for engine in self.engines:
            failure = engine.failure()
            note = f"; {failure}" if failure is not None else engine.note()
            if note:
                notes.append(f"; {engine.name}: {note.removeprefix('; ')}")
        return "".join(notes)

    def limit(self) -> Limit:
        """Returns the sum of all limits; none if one engine has none."""
        limits = self._known_limits()
        reason = "; ".join(
            f"{engine.name} {'any' if limit.number is None else limit.number}: {limit.reason}"
            for engine, limit in zip(self.engines, limits, strict=True)
        )
        numbers = [limit.number for limit in limits]
        return Limit(None if None in numbers else sum(number or 0 for number in numbers), reason)

    def own_address(self) -> str:
        """Returns the address for the engine with the most distant workers; workers on this machine use loopback
        anyway."""
        addresses = [engine.own_address() for engine in self.engines if engine.name != "here"]
        return next(
            (each for each in addresses if not each.startswith("127.")), (addresses or ["127.0.0.1"])[0]
        )

    def cancel(self) -> None:
        """Stops starting workers."""
        for engine in self.engines:
            engine.cancel()

    def wait(self) -> None:
        """Lets each engine end its remaining workers."""
        for engine in self.engines:
            engine.wait()

    def _known_limits(self) -> list[Limit]:
        if self._limits is None:
            self._limits = [engine.limit() for engine in self.engines]
        return self._limits

    def _owner(self, facts: Mapping[str, Any], likely: Callable[[Headcount], int]) -> Headcount:
        """Returns the count of the engine whose worker this is; of several possible ones, that with the greatest
        `likely`."""
        for count in self._counts:
            if count.engine.owns(facts):
                return count
        return max([count for count in self._counts if _nameless(count.engine)] or self._counts, key=likely)

    def _shares(self, number: int) -> list[int]:
        """Returns how many of `number` new workers each engine starts, among those that have not failed.

        Each engine fills up its limit, in the order of the list; the last one gets what is beyond all limits.
        """
        shares = [0] * len(self.engines)
        usable = [place for place, engine in enumerate(self.engines) if engine.failure() is None]
        usable = usable or list(range(len(self.engines)))
        limits = self._known_limits()
        for place in usable:
            limit = limits[place].number
            count = self._counts[place]
            room = OPEN if limit is None else max(0, limit - count.connected - count.expected)
            shares[place] = min(number, room)
            number -= shares[place]
        shares[usable[-1]] += number
        return shares


def _nameless(engine: Engine) -> bool:
    """Returns whether an engine never says of a worker that it is its own."""
    return getattr(type(engine), "owns", None) is BaseEngine.owns
