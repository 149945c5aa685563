#!/usr/bin/env python3
"""Count the words of the files below a directory: each file is a part, and one more part adds up what they found.

    examples/word_count.py docs '*.md'           # on this machine
    examples/word_count.py docs '*.md' -W 1      # with one worker; every flag of mu.main can follow

The last part waits for the others (`mu.done`), and gets what they have returned.
"""

import sys
from collections import Counter
from pathlib import Path

import mu

# POSIX tools count the words: make letters lower case, put each word on a line of its own, count equal lines.
COUNT = "tr -cs '[:alpha:]' '\\n' < text | tr '[:upper:]' '[:lower:]' | sort | uniq -c"


async def count(worker: mu.Worker, path: str | None) -> dict[str, int]:
    """The words of one file, each with its number; of all of them, if there is no path."""
    if path is None:
        return await merge(worker)
    await worker.put("text", Path(path).read_bytes())
    ended = await worker.shell(COUNT, env={"LC_ALL": "C"})
    pairs = (line.split() for line in ended.stdout.splitlines())
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2}


async def merge(worker: mu.Worker) -> dict[str, int]:
    """The sum of what all parts before this one have returned."""
    await worker.stage("adding up")
    total: Counter[str] = Counter()
    for part in range(worker.part):
        total.update(await mu.done(part))
    return dict(total.most_common(10))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(f"usage: {sys.argv[0]} DIRECTORY PATTERN [flags of mu.main]", file=sys.stderr)
        sys.exit(2)
    files = sorted(map(str, Path(sys.argv[1]).rglob(sys.argv[2])))
    if not files:
        print(f"{sys.argv[0]}: no file below {sys.argv[1]} matches {sys.argv[2]}", file=sys.stderr)
        sys.exit(2)
    job = mu.main(count, [*files, None], sys.argv[3:])
    for word, number in (job.results[-1] or {}).items():
        print(f"{number:8} {word}")
