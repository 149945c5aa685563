"""Runs Slurm's commands, explains their errors, and checks the words that the user gives to `sbatch`."""

import os
import subprocess
from collections.abc import Sequence

from mu.errors import MuError, UsageError, one_line, reason

PATIENCE = 60.0  # seconds that one of Slurm's commands may take

EXPLAINED = (
    (
        "Unable to contact slurm controller",
        "Slurm does not answer: is slurmctld running, and is this a login node?",
    ),
    (
        "Could not establish a configuration source",
        "Slurm is not set up here: run this on a machine of its cluster, such as the login node",
    ),
    ("unrecognized option", "sbatch rejects --engine-args: {said}"),
    (
        "python3: not found",
        "there is no python3 on the nodes: install Python 3.9 or later, or load its module",
    ),
    ("python3: command not found", "there is no python3 on the nodes: install Python 3.9 or later there"),
)

# The user's variables that change what these commands list, cancel or wait for. Those of sbatch's other options stay.
LEFT_OUT = ("SQUEUE_", "SINFO_", "SCANCEL_")
WAIT = "SBATCH_WAIT"

# Options of sbatch that would break the engine, and why: long names, which sbatch lets users shorten, and letters.
REFUSED = {
    "--job-name": "mu finds its jobs by the name that it gives them",
    "--array": "-W says how many pilots there are at a time",
    "--output": "mu reads the pilots' output where it has put it",
    "--parsable": "mu reads what sbatch prints",
    "--clusters": "set SLURM_CLUSTERS in the environment, which all of Slurm's commands heed",
    "--requeue": "mu replaces pilots that are lost",
    "--wait": "mu waits for the pilots by itself",
    "--wrap": "mu gives sbatch the pilots' script",
    "--test-only": "use mu doctor -e slurm",
}
LETTERS = {"J": "--job-name", "a": "--array", "o": "--output", "M": "--clusters", "W": "--wait"}
SHORTEST = 4  # characters of a shortened name, with its dashes, that are taken for one of these options


def check_words(words: Sequence[str]) -> None:
    """Raises UsageError if the user's words for sbatch have an option that would break the engine."""
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--"):
            option = next((each for each in REFUSED if len(name) >= SHORTEST and each.startswith(name)), "")
        else:
            option = LETTERS.get(name[1:2], "") if name.startswith("-") else ""
        if option:
            raise UsageError(f"--engine-args: sbatch's {name} cannot be used here: {REFUSED[option]}")


def check_partition(partition: str) -> None:
    """Raises UsageError if Slurm does not answer, or has no such partition."""
    try:
        listed = set(command("sinfo", "--noheader", "--format=%R").split())
    except MuError as error:
        raise UsageError(str(error)) from None
    if partition and partition not in listed:
        raise UsageError(
            f"Slurm has no partition '{partition}': it has {', '.join(sorted(listed)) or 'none'}"
        )


def command(*words: str, stdin: str = "", errors: bool = False) -> str:
    """Runs one of Slurm's commands; returns its output, or with `errors` its stderr.

    Raises MuError, with the reason and what to do, if it fails.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT) and name != WAIT
    }
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
            env=kept,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then cancels the jobs
        )
    except subprocess.TimeoutExpired:
        raise MuError(f"{words[0]} has not answered for {PATIENCE:g} s: is slurmctld running?") from None
    except OSError as error:
        raise MuError(f"cannot run {words[0]}: {reason(error)}") from None
    if done.returncode == 0:
        return done.stderr if errors else done.stdout
    lines = [line.partition(": error: ")[2] or line for line in done.stderr.splitlines() if line.strip()]
    said = one_line("; ".join(line for line in lines if not line.startswith("Try ")))
    meaning = explained(said)
    raise MuError(meaning if meaning != said else f"{words[0]}: {said or f'status {done.returncode}'}")


def explained(said: str) -> str:
    """Returns what a line of Slurm's commands or of a pilot means, and what to do; the line itself if that is not
    known."""
    return next((meaning.format(said=said) for words, meaning in EXPLAINED if words in said), said)
