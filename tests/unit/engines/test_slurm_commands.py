"""Words for sbatch that are refused, and a Slurm that is not set up."""

from pathlib import Path

import pytest

from mu.engines.slurm_commands import check_partition, check_words, command
from mu.errors import UsageError


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["--job-name=mine"], "--job-name"),
        (["--time=5", "-J", "mine"], "-J"),
        (["-Jmine"], "-Jmine"),
        (["--array", "0-3"], "--array"),
        (["--out=x"], "--out"),
        (["-M", "other"], "-M"),
        (["--cluster=other"], "--cluster"),
        (["--wrap=true"], "--wrap"),
        (["--requeue"], "--requeue"),
    ],
)
def test_words_for_sbatch_that_would_break_the_engine(words: list[str], refused: str) -> None:
    with pytest.raises(UsageError, match=f"^--engine-args: sbatch's {refused} cannot be used here: "):
        check_words(words)


def test_other_words_for_sbatch_are_taken() -> None:
    check_words(["--gres=gpu:1", "-t", "5", "--partition=x", "--wait-all-nodes=1", "-n2", "--mem=1G"])


def test_a_machine_that_is_not_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinfo = tmp_path / "sinfo"
    sinfo.write_text(
        "#!/bin/sh\necho 'sinfo: fatal: Could not establish a configuration source' >&2\nexit 1\n"
    )
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match="Slurm is not set up here: run this on a machine of its cluster"):
        check_partition("short")


def test_the_users_variables_do_not_change_what_slurms_commands_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SQUEUE_STATES", "SINFO_FORMAT", "SCANCEL_STATE", "SBATCH_WAIT"):
        monkeypatch.setenv(name, "x")
    for name in ("SBATCH_ACCOUNT", "SBATCH_WAIT_ALL_NODES", "SLURM_CLUSTERS"):
        monkeypatch.setenv(name, "y")
    given = dict(line.split("=", 1) for line in command("env").splitlines() if "=" in line)
    slurms = {name for name, value in given.items() if value in ("x", "y")}
    assert slurms == {"SBATCH_ACCOUNT", "SBATCH_WAIT_ALL_NODES", "SLURM_CLUSTERS"}
