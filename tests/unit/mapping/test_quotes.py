"""Fields between quotes or in here-documents in the text for a shell: refused if that is certain, and only then."""

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
        "bash -c $'echo {}'",
        "echo $'it\\'s {}'",
        "echo $'it' '{}'",
        "echo `echo {}`",
        'echo "`basename {}`"',
        "echo `echo a` '{}'",
        'cat <<E\nit\'s {} "{}"\nE',
        "cat <<-'E'|wc\n\tE {}\n\tE",
        'cat <<"E" 3<< \\F\nE\n{}\nF',
        "cat <<E\nE \n{}",
        'echo "$(cat <<E\n{}\nE\n)"',
        "cat <<E # it's\n{}\nE",
        "cat <<E 'a\n'\n{}\nE",
        "cat <<E\nit's\nE\necho '{}'",
        "cat <<<a '{}'",
        'echo "${{A}} {}"',
    ],
)
def test_a_field_between_quotes_or_in_a_here_document_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        words.shell(text)
    assert str(caught.value) == (
        "--sh: {} is between quotes or in a here-document: write it outside, since it arrives quoted"
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
        "sh -s {} <<'E' {}\necho \"$1\"\nE\necho {}",
        "cat <<E\nit's {#}\nE\necho {}",
        "cat <<-E\n\tit's\n\tE\necho {}",
        "echo $((1<<2\n)) {}",
        "cat <<<{}",
        "cat <<{}\n{}",
        "echo `echo a` $'it' {}",
        "echo `it's {}",
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
    with pytest.raises(UsageError, match="{name} is between quotes or"):
        words.shell("echo {} {/} '{name}' '{x}'")
    assert quoted_field([Field(""), " '", Field("a"), "'"]) == 1


PIECES = ['"', "'", '\\"', "\\'", "\\\\", " ", "a", "#", "\n", "$(echo ", ")", '"$(echo ', ')"', "$((1+1))"]
PIECES += ["<<E ", "<<-'E'\n", "\nE\n", "`echo a`"]


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
