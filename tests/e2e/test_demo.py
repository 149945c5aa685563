"""`mu demo`, from an empty directory to checked results."""

import subprocess
import sys
from pathlib import Path

import pytest

from mu.cli import demo, main


def test_the_whole_demo(tmp_path: Path) -> None:
    out = tmp_path / "a demo"
    done = subprocess.run(
        [sys.executable, "-m", "mu", "demo", "-o", str(out)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"demo: all 5 chunks are right: {out}/s3/mybucket/sintel-1k-y4m_06" in done.stdout
    assert len(list((out / "s3" / "mybucket" / "y4m").glob("*.y4m"))) == 30
    assert (out / "timeline.html").is_file()
    assert list(tmp_path.iterdir()) == [out]


def test_frames_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda _: None)
    demo._frames(tmp_path, None)
    frames = sorted(tmp_path.iterdir())
    assert len(frames) == 30
    assert len({frame.read_bytes() for frame in frames}) == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-video"], "no-such-video cannot be read"),
        (["-o", "full"], "full is not empty, and no demo has made it"),
        (["-o", "file"], "file exists, and is no directory"),
        (["-o", "file/inside"], "cannot make "),
    ],
)
def test_mistakes(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    assert main.main(["demo", *words]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "full" / "mine").exists()
