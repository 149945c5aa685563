"""Secrets are blanked in all texts of a record."""

import pytest

from mu.history.blank import CACHED_LENGTH, LOOKS_SECRET, blanked, blanker, known_secrets, shown_settings

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ASIAIOSFODNN7EXAMPLE", "***"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB+/=\n-----END PRIVATE KEY-----\nx", "***\nx"),
        ("GET /k?X-Amz-Signature=0123abcdef&x=1", "GET /k?X-Amz-Signature=***&x=1"),
        ("GET /k?X-Amz-Security-Token=IQoJb3%2F&x=1", "GET /k?X-Amz-Security-Token=***&x=1"),
        ("GET /k?x-amz-security-token=IQoJb3", "GET /k?x-amz-security-token=***"),
        (f"a {SECRET}.", "a ***."),
        (f"a {SECRET[:20]}... b", "a *** b"),
        (
            "AWS_SECRET_ACCESS_KEY=ab/c+=\nAWS_SESSION_TOKEN=IQoJ\nHOME=/",
            "AWS_SECRET_ACCESS_KEY=***\nAWS_SESSION_TOKEN=***\nHOME=/",
        ),
        ('export aws_secret_access_key = "ab/c"', 'export aws_secret_access_key = "***"'),
        (
            '{"SecretAccessKey": "ab", "SessionToken": "c", "x": 1}',
            '{"SecretAccessKey": "***", "SessionToken": "***", "x": 1}',
        ),
        ("\n    | MIIB+/a\n    | b=\n    | -----END RSA PRIVATE KEY-----\n    | x", "\n    | ***\n    | x"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n    | ...", "***"),
        ("it ends\nwith this", "it ends\nwith this"),
        ('a "quoted" \\ ü', 'a "quoted" \\ ü'),
    ],
)
def test_what_is_blanked(text: str, left: str) -> None:
    blank = blanker([SECRET])
    assert blank(text) == blank(text) == left
    long = "." * CACHED_LENGTH + "\n"
    assert blanked({"x": [(text, 3), None], "y": long + text}, blank) == {
        "x": [[left, 3], None],
        "y": long + left,
    }


@pytest.mark.parametrize("length", [64, 101, 1600, 20_000])
def test_the_end_of_a_key_is_blanked_however_long_its_lines_are(length: int) -> None:
    text = f"{'M' * length}\n{'I' * length}\n-----END PRIVATE KEY-----\nx"
    assert blanker([])(text) == "***\nx"


def test_halves_of_characters_become_writable() -> None:
    assert blanker([])("\ud800 and \U0001f600") == "? and \U0001f600"


def test_what_is_too_short_to_be_a_secret_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    info = type("ServerInfo", (), {"srvkey": SECRET, "cacert": None, "bucket": "a bucket that is no secret"})
    assert known_secrets(info) == [SECRET]


def test_a_text_made_to_be_slow_is_blanked_all_the_same() -> None:
    """With a quadratic algorithm this test would run for hours."""
    for piece in (
        "a\n",
        f"{'a' * 200}\n",
        f"{'a' * 200} ",
        "=\n | ",
        "-----BEGIN A-----\n",
        "secretaccesskey  ",
        "AKIA",
    ):
        text = piece * (50_000 // len(piece))
        assert len(LOOKS_SECRET.sub("", text)) <= len(text)


def test_a_setting_without_an_end_is_left_out() -> None:
    info = type("ServerInfo", (), {"kill_time": float("inf"), "connect_timeout": 3.0})
    assert shown_settings(info, ["connect_timeout", "kill_time"]) == {"connect_timeout": 3.0}
