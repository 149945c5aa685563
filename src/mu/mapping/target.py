"""The function that a map on Lambda invokes, and what that costs."""

from typing import NamedTuple

from mu import aws
from mu.errors import UsageError
from mu.mapping import program
from mu.mapping.job import Checked, Map
from mu.mapping.settings import LAMBDA, Given
from mu.report.cost import Function


class Target(NamedTuple):
    """The Lambda function that does the work; `timeout` is in seconds."""

    name: str
    regions: list[str]
    price: Function
    timeout: float


def set_price(made: Map, target: Target) -> None:
    """Sets the price of time. Raises UsageError if it is not known and there is a limit."""
    given = made.given
    made.budget.set_price(target.price, given.timeout or target.timeout, target.regions)
    if given.max_cost is not None and not made.budget.worst:
        where = ", ".join(target.regions)
        raise UsageError(
            f"--max-cost: no price is known for {target.price.architecture} in {where}: choose another region with -r, "
            "or leave --max-cost out"
        )


def warn_of_limit(given: Given, target: Target) -> None:
    """Says so if `--timeout` is longer than a worker may run."""
    if given.timeout is not None and given.timeout > target.timeout:
        given.note(
            f"--timeout {given.timeout:g} is longer than a worker of {target.name} may run: {target.timeout:g} s"
        )


def regions_of(given: Given) -> list[str]:
    """Returns the functions' regions. Raises UsageError if AWS has no such region."""
    return aws.regions(given.regions)


def target_of(checked: Checked) -> Target | None:
    """Returns the function of engine lambda, made now if it does not exist; None for other engines. Raises MuError."""
    given = checked.given
    if LAMBDA not in given.engine:
        return None
    regions = regions_of(given)
    name = given.function
    if name is None:
        for region in regions:
            name = program.as_function(
                checked.program,
                given.beside,
                region,
                memory=given.memory,
                allow_ld=given.allow_ld,
                say=given.note,
            )
    elif given.beside:
        raise UsageError("--with is packaged with a new function, but -l names an existing one")
    if str(name).endswith(".zip"):
        raise UsageError(
            f"-e lambda needs a function's name after -l, and {name} is a package: mu lambdaize uploads it"
        )
    # Imported late: it loads botocore, and other engines need no AWS.
    from mu.lambdaize.deploy import wait_while_pending

    client = aws.client("lambda", regions[0])
    with aws.explained(f"cannot look at function {name}"):
        found = client.get_function_configuration(FunctionName=name)
    wait_while_pending(client, str(name), found)
    price = Function(found["MemorySize"], (found.get("Architectures") or ["x86_64"])[0])
    return Target(str(name), regions, price, float(found["Timeout"]))
