"""Private keys appear only where they are needed: not in a process list, a log, an answer, or the files of a run."""

import base64
import json
import re
import secrets
from pathlib import Path

from mu.tls.keys import write_job_key_files
from tests.faults.processes import command_line, descendants, environment_of
from tests.faults.rig import Rig

DUMPER = """\
import sys
from mu import CommandListState, TerminalState, server

class ServerInfo:
    port_number, num_parts, lambda_function, cacert, srvcrt, srvkey = 0, 1, "", None, None, None
    bucket = video_name = num_frames = out_file = None

class Dump(CommandListState):
    commandlist = [
        ("OK:HELLO", "dump_vals:"),
        ("OK:DUMP_VALS", "run:env; cat /proc/[0-9]*/cmdline; grep -a -r . ##TMPDIR##; ls -aR ##TMPDIR##"),
        ("OK:RETVAL", "get:srvkey"),
        None,
    ]
    nextState = TerminalState

    def transition(self, msg):
        print(msg)
        return super().transition(msg)

server.options(ServerInfo)
server.server_launch(ServerInfo, {"mode": 1, "bucket": ServerInfo.bucket})
server.server_main_loop([], Dump, ServerInfo)
"""


def needles(body: str) -> list[str]:
    """Returns pieces of a key, none of which may be found: of its base64 form, in which it is sent, and of the secret
    number in hexadecimal."""
    raw = base64.b64decode(body)
    text = body.replace("\n", "")
    return [text[at : at + 24] for at in range(60, len(text) - 24, 12)] + [raw[36:68].hex()[:24]]


def found(text: str, keys: dict[str, list[str]]) -> set[str]:
    """Returns the names of the keys of which a text has a piece."""
    return {name for name, pieces in keys.items() if any(piece in text for piece in pieces)}


def everything(directory: Path) -> str:
    """Returns the contents of all files below a directory."""
    return "\n".join(path.read_bytes().decode("latin-1") for path in directory.rglob("*") if path.is_file())


def test_keys_stay_where_they_are(rig: Rig, tmp_path: Path) -> None:
    write_job_key_files(tmp_path)
    keys = {}
    for name in ("ca", "server", "worker"):
        pem = (tmp_path / f"{name}_key.pem").read_text()
        keys[name] = needles(re.sub("-----[^-]+-----", "", pem).strip())
    aws = secrets.token_urlsafe(30)
    keys["AWS"] = [aws]
    pair = ["-c", "ca_cert.pem", "-s", "server_cert.pem", "-k", "server_key.pem"]
    pair += ["--worker-cert", "worker_cert.pem", "--worker-key", "worker_key.pem"]
    words = [word if word.startswith("-") else str(tmp_path / word) for word in pair]
    environment = {"AWS_SECRET_ACCESS_KEY": aws}

    arrived = rig.hold_at_gate(1)
    job = rig.start("-D", "-O", "times", "--record", "record", "--verbose", *words, environment=environment)
    arrived()
    # In the middle of the job: coordinator, workers and a program.
    running = descendants()
    assert job.process.pid in running
    assert any(b"gate.sh" in command_line(pid) for pid in running - {job.process.pid})
    for pid in running:
        assert found(command_line(pid).decode("latin-1"), keys) == set()
        if pid != job.process.pid:
            assert found(environment_of(pid).decode("latin-1"), keys) == set()
    (rig.gate / "go").write_text("go\n")
    job.end()
    rig.all_there()

    # Control: the search does find the keys in the event, from which the workers get them.
    sent = json.dumps(rig.front.events)
    assert found(sent, keys) == {"worker"}
    assert (job.directory / "record" / "run.json").is_file()
    assert (job.directory / "times").is_file()
    assert found(everything(job.directory), keys) == set()

    # Ask a worker for its keys directly.
    script = tmp_path / "dumper.py"
    script.write_text(DUMPER)
    job = rig.start("-D", *words, parts=1, script=script, environment=environment)
    text = job.end(1)
    assert "'mode': 1" in text
    assert "AWS_LAMBDA_FUNCTION_NAME=" in text
    assert "no such variable srvkey" in text
    assert found(text, keys) == set()
    logs = everything(rig.directory / "logs")
    assert "START RequestId" in logs
    assert found(logs, keys) == set()
