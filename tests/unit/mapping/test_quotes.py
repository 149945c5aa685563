"""Fields between quotes in the text for a shell: refused where that is certain, and never elsewhere."""

import subprocess

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import words
from mu.mapping.quotes import quoted_field
from mu.mapping.words import Field


@pytest.mark.parametrize(
    "text",
    [
        'echo "{}"',
        "echo '{}'",
        'echo "a {} b"',
        'echo "it\'s {}"',
        "echo 'say \"{}'",
        r'echo "\"{}"',
        r'echo "\{}"',
        'echo "$(basename "{}")"',
        "echo \"$(basename '{}')\"",
        'echo "$(a) {}"',
        'echo "$((1 + 1)) {}"',
        "sh -c 'wc -l {}'",
        "# don't\necho '{}'",
        "echo a#'b' '{}'",
        r"echo \ #'b {}'",
        "case x in x) echo '{}';; esac",
        "echo '{}' <<E\nE",
        'echo "a\n{}"',
        "echo '{{' \"{}\"",
    ],
)
def test_a_field_between_quotes_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        words.shell(text)
    assert str(caught.value) == (
        "--sh: {} is between quotes: write it outside of them, since it arrives quoted"
    )


@pytest.mark.parametrize(
    "text",
    [
        "echo {}",
        "echo 'a' {} \"b\"",
        'echo "a "{}" b"',
        r"echo \"{}\" \'{}\'",
        r'echo "\\"{}',
        "echo '\\'{}",
        'echo "$(basename {})"',
        'echo "$(basename "$(dirname {})")"',
        'echo "$(( {#} + 1 ))"',
        "# don't\necho {}",
        "echo {} # don't {}",
        'cat <<E\nit\'s {} "{}"\nE',
        'echo `echo "{}"`',
        'echo "`basename {}`"',
        'echo "${{x:-{}}}"',
        "echo $'it\\'s' {}",
        'echo "$(case x in x) echo {};; esac)"',
        "echo $(date)#'\n'{}",
        "echo 'not ended {}",
        "echo a\0'{}'",
        "echo \"frame-{#}.png\" '{#}'",
        "echo a \\\n# it's {} don't\necho {}",
    ],
)
def test_a_field_outside_of_quotes_or_in_doubt_is_not(text: str) -> None:
    words.shell(text)


def test_the_field_is_named() -> None:
    with pytest.raises(UsageError, match="{name} is between quotes"):
        words.shell("echo {} {/} '{name}' '{x}'")
    assert quoted_field([Field(""), " '", Field("a"), "'"]) == 1


PIECES = ['"', "'", '\\"', "\\'", "\\\\", " ", "a", "#", "\n", "$(echo ", ")", '"$(echo ', ')"', "$((1+1))"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=6), st.lists(st.sampled_from(PIECES), max_size=6))
def test_a_real_shell_agrees(before: list[str], after: list[str]) -> None:
    """A variable with two blanks in the place of the field keeps them between double quotes, and has its name between
    single quotes; elsewhere it becomes two words."""
    start, end = "echo " + "".join(before), "".join(after)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{start}${{X}}{end}"], env={"X": "p  p"}, capture_output=True, check=False
    )
    assume(not done.returncode and not done.stderr)
    refused = quoted_field([start, Field(""), end]) is not None
    if b"p p" in done.stdout:
        # What is quoted in $(...) may be split outside of it.
        assert not refused or "$(echo" in start
    elif done.stdout.strip() and (b"p  p" in done.stdout or b"${X}" in done.stdout):
        assert refused or ")#" in start
