"""Outputs: templates, collisions, and paths that would overwrite an input or leave the directory."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import outputs, rows, sources
from mu.mapping.inputs import Input
from mu.mapping.outputs import Outputs, RefusedError


def made(template: str, text: str, number: int = 1) -> str:
    (output,) = outputs.parse([template], None)
    return outputs.expand(output, Input(number, text))


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        ("thumbs/{/}", "photos/a b.jpg", "thumbs/a b.jpg"),
        ("{.}.png", "photos/a.jpg", "photos/a.png"),
        ("out/{#}", "x", "out/1"),
        ("./out//{/}", "a", "out/a"),
        ("../out/{/}", "a", "../out/a"),
        ("s3://bkt/y4m/{/.}.y4m", "s3://bkt/raw/%2F+.png", "s3://bkt/y4m/%2F+.y4m"),
        ("s3://bkt/x/{}", "a/../b", "s3://bkt/x/a/../b"),
        ("{}.out", "/abs/a", "/abs/a.out"),
        ("/x/{/}", "a", "/x/a"),
        ("one", "a", "one"),
        ("{{{/}}}", "a", "{a}"),
        ("thumbs/{/}", "photos/-rf", "thumbs/-rf"),
        ("thumbs/{/}", "photos/é", "thumbs/é"),
    ],
)
def test_a_template(template: str, text: str, expected: str) -> None:
    assert made(template, text) == expected


@pytest.mark.parametrize(
    ("template", "text", "message"),
    [
        ("out/{}", "../x", "outside of out"),
        ("out/{}", "a/../../x", "outside of out"),
        ("{}", "../x", r"outside of \."),
        ("out/{/}", "..", "which is a directory"),
        ("out/{}", "a/", "which is a directory"),
        ("out/{}", "", "which is a directory"),
        ("out/{/}", "x" * 256, "has 256 bytes"),
        ("out/{/}.png", "é" * 126, "has 256 bytes"),
        ("out/{}", "a\0b", "NUL"),
        ("s3://bkt/{/}", "\udcff", "not UTF-8"),
        ("s3://bkt/{}", "x" * 1025, "has 1025 bytes"),
        ("s3://bkt/{}", "a/", "not the name of an object"),
        ("{}.gz", "s3:/b/k", "which is not s3://BUCKET/KEY"),
    ],
)
def test_refused_for_this_input(template: str, text: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        made(template, text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["thumbs/"], "ends with a slash"),
        (["s3:/b/{/}"], r"write s3://BUCKET/KEY for an object, or \./s3:/b/{/} for a file"),
        (["s3://b"], "is not s3://BUCKET/KEY"),
        (["s3://{/}/x"], "is not s3://BUCKET/KEY"),
        ([""], "is empty"),
        (["a=x/{/}", "a=y/{/}"], "a is given twice"),
        (["x/{/}", "y/{/}"], "without a name is given twice"),
        (["x/{in}"], "which is not a field"),
        (["x/{"], "literal brace"),
    ],
)
def test_refused_as_a_template(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        outputs.parse(given, None)


def test_several_outputs_have_names() -> None:
    parsed = outputs.parse(["video={/}.mp4", "log=logs/{/}.txt", "x/{/}"], None)
    both = Outputs(parsed, rows.number_range("1-2"))
    assert both.of(Input(1, "a")) == {"video": "a.mp4", "log": "logs/a.txt", "": "x/a"}


def test_two_inputs_of_one_output() -> None:
    both = Outputs(outputs.parse(["x/{/}"], None), rows.number_range("1-2"))
    both.claim(both.of(Input(1, "a/1.jpg")))
    with pytest.raises(RefusedError, match="x/1.jpg is that of another"):
        both.claim(both.of(Input(2, "b/1.jpg")))
    both.claim(both.of(Input(3, "b/2.jpg")))
    both.forget()
    both.claim(both.of(Input(2, "b/1.jpg")))


def test_two_outputs_of_one_input_that_are_the_same() -> None:
    both = Outputs(outputs.parse(["a=x/{/}", "b=./x/{/}"], None), rows.number_range("1-2"))
    with pytest.raises(RefusedError, match="another input"):
        both.claim(both.of(Input(1, "1.jpg")))


@pytest.mark.parametrize(
    ("pattern", "template", "text", "refused"),
    [
        ("photos/*", "photos/{/}.png", "photos/a.jpg", True),
        ("photos/*.jpg", "photos/{/.}.png", "photos/a.jpg", False),
        ("photos/**", "photos/thumbs/{/}", "photos/a.jpg", True),
        ("./photos/**", "photos/thumbs/{/}", "./photos/a.jpg", True),
        ("photos/*", "photos/thumbs/{/}", "photos/a.jpg", False),
        ("photos", "photos/thumbs/{/}", "photos/a.jpg", True),
        ("s3://bkt/raw/**", "s3://bkt/raw/y/{/}", "s3://bkt/raw/a", True),
        ("s3://bkt/raw/", "s3://bkt/raw/y/{/}", "s3://bkt/raw/a", True),
        ("s3://bkt/raw/**", "s3://copies/raw/y/{/}", "s3://bkt/raw/a", False),
        ("s3://bkt/raw/**", "raw/y/{/}", "s3://bkt/raw/a", False),
        ("s3://bkt/raw/**", "s3://bkt/raw2/{/}", "s3://bkt/raw/a", False),
    ],
)
def test_an_output_that_would_be_an_input(
    pattern: str, template: str, text: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    both = Outputs(outputs.parse([template], None), sources.patterns([pattern]))
    if refused:
        with pytest.raises(RefusedError, match="would be an input itself"):
            both.of(Input(1, text))
    else:
        both.of(Input(1, text))


def test_a_line_that_is_its_own_output() -> None:
    both = Outputs(outputs.parse(["{}"], None), rows.number_range("1-2"))
    with pytest.raises(RefusedError, match="the input itself"):
        both.of(Input(1, "./a.jpg"))


@given(st.text(max_size=30))
def test_no_input_leaves_the_directory(text: str) -> None:
    try:
        place = made("out/{}", text)
    except (RefusedError, UnicodeEncodeError):
        return
    assert Path("out") in Path(place).parents
    assert ".." not in Path(place).parts
