"""What a worker has to say in one line: an error's reason in an answer, and its log."""

import sys

LONGEST = 300


def one_line(text: str) -> str:
    """`text` with its line breaks and runs of blanks as single blanks, cut if it is very long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def why(error: BaseException) -> str:
    """What went wrong: `no such file or directory`."""
    if "Invalid header value" in str(error):
        # http.client's words, which quote the header: a session token, or a signature and an access key.
        return "the AWS credentials have odd characters in them, such as a line break: set them anew"
    if isinstance(error, OSError) and error.strerror:
        # A TLS error's text is `[SSL: REASON] words (_ssl.c:1006)`: the words are what helps.
        text = error.strerror.partition(" (_ssl.c")[0]
        text = text.partition("] ")[2] or text
        return one_line(text[:1].lower() + text[1:])
    return one_line(str(error)) or type(error).__name__


def log(text: str) -> None:
    """One line to stderr, which Lambda keeps."""
    sys.stderr.write(f"mu worker: {one_line(text)}\n")
    sys.stderr.flush()
