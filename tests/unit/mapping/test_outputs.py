"""Outputs: templates, collisions, and paths that would overwrite an input or leave the directory."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import outputs, rows, sources
from mu.mapping.inputs import Input, is_s3
from mu.mapping.outputs import CollisionError, Outputs, RefusedError


def claim(both: Outputs, item: Input) -> None:
    both.claim(item, both.of(item))


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
    claim(both, Input(1, "a/1.jpg"))
    with pytest.raises(RefusedError, match="x/1.jpg is that of another"):
        claim(both, Input(2, "b/1.jpg"))
    claim(both, Input(3, "b/2.jpg"))
    both.forget()
    claim(both, Input(2, "b/1.jpg"))


def test_two_outputs_of_one_input_that_are_the_same() -> None:
    both = Outputs(outputs.parse(["a=x/{/}", "b=./x/{/}"], None), rows.number_range("1-2"))
    with pytest.raises(RefusedError, match="another input"):
        claim(both, Input(1, "1.jpg"))


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
            claim(both, Input(1, text))
    else:
        claim(both, Input(1, text))


ROW = {"f": "in/1", "o": "in/2", "n": "7"}


@pytest.mark.parametrize("fields", [{""}, {"in"}, {"/"}])
@pytest.mark.parametrize("text", ["./a.jpg", "way/a.jpg", "link"])
def test_a_line_that_is_its_own_output(
    fields: set[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("way").symlink_to(".")
    Path("link").symlink_to("a.jpg")
    both = Outputs(outputs.parse(["a.jpg"], None), rows.listed(["x"]), fields)
    with pytest.raises(RefusedError, match="its output a.jpg is the input itself"):
        claim(both, Input(1, text))


@pytest.mark.parametrize(
    ("source", "template", "item", "fields"),
    [
        (rows.number_range("1-3"), "{}", Input(1, "1"), {""}),
        (rows.number_range("1-3"), "./{}", Input(1, "1"), {""}),
        (rows.listed([1, 2]), "{}", Input(1, "1"), {""}),
        (rows.listed(["a"]), "{}", Input(1, "a"), {"out"}),
        (rows.listed([ROW]), "{n}", Input(1, "7", ROW), {"", "n"}),
        (rows.listed([ROW]), "{o}", Input(1, "7", ROW), {"in:f", "o"}),
    ],
)
def test_a_number_or_a_row_is_no_file(
    source: sources.Source, template: str, item: Input, fields: set[str]
) -> None:
    claim(Outputs(outputs.parse([template], source.columns), source, fields), item)


def test_a_number_that_the_program_reads_is_a_file() -> None:
    both = Outputs(outputs.parse(["{}"], None), rows.number_range("1-3"), {"in"})
    with pytest.raises(RefusedError, match="the input itself"):
        claim(both, Input(1, "1"))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("template", "fields", "one", "other"),
    [
        ("{}.gz", {"in"}, Input(1, "a"), Input(2, "./a.gz")),
        ("{}.gz", {""}, Input(1, "a"), Input(2, "way/a.gz")),
        ("{}.gz", {"in"}, Input(1, "s3://bkt/a"), Input(2, "s3://bkt/a.gz")),
        ("{o}", {"in:f"}, Input(1, "x", ROW), Input(2, "y", {"f": "in/2", "o": "in/3"})),
        ("{o}", {"in:f"}, Input(1, "x", ROW), Input(2, "y", {"f": "link", "o": "in/3"})),
    ],
)
def test_what_one_input_writes_and_another_reads(
    template: str,
    fields: set[str],
    one: Input,
    other: Input,
    turned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the second of the two that is refused, since inputs may still be being read."""
    monkeypatch.chdir(tmp_path)
    Path("way").symlink_to(".")
    Path("link").symlink_to("in/2")
    if is_s3(one.text):
        template = "s3://bkt/{/}.gz"
    columns = None if one.fields is None else list(one.fields)
    both = Outputs(outputs.parse([template], columns), rows.listed(["x"]), fields)
    first, second = (other, one) if turned else (one, other)
    claim(both, first)
    told = "would be an input itself" if turned else "is the output of another input"
    for _ in range(2):  # nothing of what was refused is claimed
        with pytest.raises(CollisionError, match=told):
            claim(both, second)
    both.forget()
    claim(both, second)


def test_a_file_may_be_read_by_many() -> None:
    both = Outputs(outputs.parse(["{n}"], ["f", "n"]), rows.listed([ROW]), {"in:f"})
    for number in (1, 2):
        claim(both, Input(number, "", {"f": "model", "n": str(number)}))
    with pytest.raises(CollisionError, match="would be an input itself"):
        claim(both, Input(3, "", {"f": "x", "n": "model"}))


@given(st.text(max_size=30))
def test_no_input_leaves_the_directory(text: str) -> None:
    try:
        place = made("out/{}", text)
    except (RefusedError, UnicodeEncodeError):
        return
    assert Path("out") in Path(place).parents
    assert ".." not in Path(place).parts
