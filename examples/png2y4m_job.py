#!/usr/bin/env python3
"""The job of png2y4m_server.py as a coroutine: PNG frames of a video in S3 become Y4M chunks, one part for each chunk.

Frame i of chunk p is read from VIDEO-png16/%08d.png, numbered from 1; the chunk goes to VIDEO-y4m_06/%08d.y4m, numbered
from 0. `-l` names the function and `-b` the bucket.

    examples/png2y4m_job.py CHUNKS -l png2y4m_XXXXXXXX -b mybucket
"""

import sys

import mu

VIDEO = "sintel-1k"
FRAMES = 6  # in each chunk


async def chunk(worker: mu.Worker, number: int) -> None:
    """One chunk: the packaged program appends each frame to it."""
    for frame in range(1 + FRAMES * number, 1 + FRAMES * (number + 1)):
        await worker.retrieve(f"{VIDEO}-png16/{frame:08d}.png", "frame.png")
        await worker.program(infile="frame.png", outfile="chunk.y4m")
    await worker.upload("chunk.y4m", output(number))


def output(number: int) -> str:
    """The key that a chunk goes to; `--resume` skips those that are there."""
    return f"{VIDEO}-y4m_{FRAMES:02d}/{number:08d}.y4m"


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1].isdigit():
        print(f"usage: {sys.argv[0]} CHUNKS [flags of mu.main]", file=sys.stderr)
        sys.exit(2)
    mu.main(chunk, range(int(sys.argv[1])), sys.argv[2:], outputs=output)
