#!/usr/bin/env python3
"""Measures the live display on a terminal of any size, and records it.

A coordinator runs on a pseudo-terminal, with N fake workers in another process that take random times for their
commands, and some of which fail. Afterwards its CPU time is compared with that of the same job whose
standard error is no terminal; --cast leaves a recording for asciinema.

usage: bench/display.py [-n WORKERS] [--size COLUMNSxLINES] [--seconds S] [--cast FILE]
"""

import argparse
import codecs
import fcntl
import heapq
import json
import os
import pty
import random
import resource
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from mu.wire.framing import FrameParser, encode, to_text

FAILURE = (
    "OK:RETVAL(1):OUTPUT(reading frame 3\npng2y4m: the picture is not 16 bits deep\n):COMMAND(./png2y4m -i)"
)


def coordinator(workers: int) -> None:
    """Runs a job with the states of the main example, over plain TCP."""
    from mu import CommandListState, ForLoopState, TerminalState, server
    from mu.server.script_runs import prepared

    class FinalState(TerminalState):
        pass

    class UploadState(CommandListState):
        commandlist = [(None, "upload:"), "quit:"]
        nextState = FinalState

    class RetrieveAndRunState(CommandListState):
        commandlist = [(None, "retrieve:"), "run:", ("OK:RETVAL(0)", None)]

    class FrameLoopState(ForLoopState):
        iterKey = "frame"
        iterFin = 6
        loopState = RetrieveAndRunState
        exitState = UploadState

    RetrieveAndRunState.nextState = FrameLoopState

    class ConfigState(CommandListState):
        commandlist = [("OK:HELLO", "set:a:b"), "set:c:d", "seti:nonblock:0", None]
        nextState = FrameLoopState

    class ServerInfo:
        port_number = 0
        num_parts = workers
        hello_timeout = 600

    port = prepared(ServerInfo).port
    Path(sys.argv[3]).write_text(str(port))
    before = time.process_time()
    try:
        server.server_main_loop([], ConfigState, ServerInfo)
    finally:
        Path(sys.argv[3]).write_text(str(time.process_time() - before))


def load(port: int, workers: int, seconds: float) -> None:
    """Runs all workers in one process; each answers after its own delay."""
    choose = random.Random(1)
    unit = seconds / 12
    takes = {"set": 0.05, "seti": 0.05, "retrieve": 0.5, "run": 1.0, "upload": 1.5}
    begin = time.monotonic()
    due = [(begin + choose.random() * seconds / 4, number, "") for number in range(workers)]
    heapq.heapify(due)
    epoll = select.epoll()
    links: dict[int, tuple[socket.socket, FrameParser, int]] = {}
    socks: dict[int, socket.socket] = {}
    left = workers
    while left:
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, number, command = heapq.heappop(due)
            if not command:
                sock = socket.create_connection(("127.0.0.1", port))
                socks[number] = sock
                links[sock.fileno()] = sock, FrameParser(1 << 20), number
                epoll.register(sock, select.EPOLLIN)
                answer = "OK:HELLO"
            elif command == "run" and choose.random() < 0.004:
                answer = FAILURE
            else:
                answer = {"run": "OK:RETVAL(0):OUTPUT():COMMAND(./png2y4m)"}.get(
                    command, f"OK:{command.upper()}(x)"
                )
            socks[number].sendall(encode(answer.encode()))
        wait = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        for fd, _ in epoll.poll(min(wait, 1.0)):
            sock, parser, number = links[fd]
            data = sock.recv(65536)
            parser.feed(data)
            ended = not data
            while parser.messages:
                command = to_text(parser.messages.popleft()).partition(":")[0]
                if command == "quit":
                    ended = True
                    break
                slow = 4 if choose.random() < 0.01 else 1
                took = choose.uniform(0.3, 1.7) * takes[command] * unit * slow
                heapq.heappush(due, (time.monotonic() + took, number, command))
            if ended:
                epoll.unregister(fd)
                sock.close()
                del links[fd]
                left -= 1


def run(workers: int, size: tuple[int, int] | None, seconds: float, cast: Path | None) -> float:
    """Returns the coordinator's CPU seconds, with a recorded terminal of `size`, or (None) without one."""
    told = Path(f"/tmp/mu-display-{os.getpid()}")
    told.unlink(missing_ok=True)
    command = [sys.executable, __file__, "coordinator", str(workers), str(told)]
    environment = {**os.environ, "TERM": "xterm-256color"}
    master = slave = -1
    if size is not None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(command, env=environment, stderr=slave if size else subprocess.DEVNULL)
    while not told.exists() or not told.read_text():
        time.sleep(0.01)
    fakes = subprocess.Popen([sys.executable, __file__, "load", told.read_text(), str(workers), str(seconds)])
    if size is not None:
        os.close(slave)
        frames, begin = [], 0.0
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a read may end within a character
        while True:
            try:
                data = os.read(master, 1 << 16)
            except OSError:
                break
            if not data:
                break
            begin = begin or time.time()
            frames.append([round(time.time() - begin, 3), "o", decode(data)])
        os.close(master)
        if cast is not None:
            head = {"version": 2, "width": size[0], "height": size[1], "timestamp": int(begin)}
            cast.write_text("".join(json.dumps(line) + "\n" for line in [head, *frames]))
    process.wait()
    fakes.wait()
    used = float(told.read_text())
    told.unlink()
    return used


def main() -> None:
    """Measures both, and prints the cost of the display."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", "--workers", type=int, default=1000)
    parser.add_argument("--size", default="80x24")
    parser.add_argument("--seconds", type=float, default=12, help="how long a worker takes, about")
    parser.add_argument("--cast", type=Path, metavar="FILE")
    args = parser.parse_args()
    columns, _, lines = args.size.partition("x")
    live = run(args.workers, (int(columns), int(lines)), args.seconds, args.cast)
    plain = run(args.workers, None, args.seconds, None)
    print(f"{args.workers} workers, {args.size}: {live:.2f} s of CPU with the display, {plain:.2f} s without")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    match sys.argv[1:]:
        case ["coordinator", workers, _]:
            coordinator(int(workers))
        case ["load", port, workers, seconds]:
            load(int(port), int(workers), float(seconds))
        case _:
            main()
