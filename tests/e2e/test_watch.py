"""`mu watch` follows a run whose workers are invocations of the local engine."""

from pathlib import Path

from tests.support.watching import said, watched


def test_a_run_on_lambda_is_followed_to_its_end(
    environment: dict[str, str], function: str, tmp_path: Path
) -> None:
    words = ["-m", "mu", "map", "--lines", "-", "-e", "lambda", "-l", function, "-W", "2", "--record", "run"]
    words += ["--", "true", "{}"]
    with watched(tmp_path, "run/run.json", *words, environment=environment, given="1\n") as (run, watch):
        assert run.stdin is not None
        run.stdin.write("2\n")
        run.stdin.close()  # without more inputs the run ends
        assert "2 of 2 parts done in " in said(watch).splitlines()[-1]
        assert watch.wait() == 0
        told = said(run)
        assert run.wait() == 0, told
