"""The flags of coordinator scripts, and the errors for wrong values."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mu import UsageError, server, util
from mu.defs import Defs
from mu.engines.ramp import Ramp
from mu.preflight import ENDPOINTS
from mu.server.flags import FLAGS, WORKER_FLAGS
from mu.tls import keys

ALL = {flag.attribute: None for flag in FLAGS if flag.attribute not in ("cacert", "srvcrt", "srvkey")}


def parsed(*words: str, **attributes: Any) -> Any:
    info = type("ServerInfo", (), ALL | attributes)
    server.options(info, list(words))
    return info


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        ("-O times.txt", "out_file", "times.txt"),
        ("-P profile", "profiling", "profile"),
        ("-n 12", "num_parts", 12),
        ("--parts=12", "num_parts", 12),
        ("-N 3,1,2", "num_list", [3, 1, 2]),
        ("-N 3,1,2", "num_parts", 3),
        ("-X 5", "overprovision", 5),
        ("-f 6", "num_frames", 6),
        ("-o 7", "num_offset", 7),
        ("-q 1,-2", "quality_values", [1, -2]),
        ("-e here", "engine", ["here"]),
        ("-e ssh:a,b=2 --engine here", "engine", ["ssh:a,b=2", "here"]),
        ("--engine-args --time=1", "engine_args", "--time=1"),
        ("--engine-args=--time=1", "engine_args", "--time=1"),
        ("--tunnel", "tunnel", True),
        ("--ramp 10,5", "ramp", Ramp(10, 5.0)),
        ("-W 9", "workers", 9),
        ("-x", "run_xcenc", True),
        ("-Y 30", "quality_y", 30),
        ("-S 10", "quality_s", 10),
        ("-K 16", "keyframe_distance", 16),
        ("-u", "upload_states", True),
        ("-v video", "video_name", "video"),
        ("-b bucket", "bucket", "bucket"),
        ("-i png16", "in_format", "png16"),
        ("-t 0", "port_number", 0),
        ("-a 10.0.0.1", "host_addr", "10.0.0.1"),
        ("-H relay", "state_srv_addr", "relay"),
        ("-T 13337", "state_srv_port", 13337),
        ("-R 4", "state_srv_threads", 4),
        ("-l function", "lambda_function", "function"),
        ("-r us-east-1,eu-west-1", "regions", ["us-east-1", "eu-west-1"]),
        ("-m 2.5", "kill_time", 2.5),
        ("--retries 3", "retries", 3),
        ("--backup 1.5", "backup", 1.5),
        ("--connect-timeout 7", "connect_timeout", 7.0),
        ("--part-timeout 60", "part_timeout", 60.0),
        ("--resume", "resume", True),
        ("-M", "hashed_names", True),
    ],
)
def test_a_flag_sets_its_attribute(
    tmp_path: Path, monkeypatch: Any, words: str, attribute: str, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert getattr(parsed(*words.split()), attribute) == value


def test_every_flag_of_the_table_is_tried_above() -> None:
    mark = next(m for m in test_a_flag_sets_its_attribute.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    tried = {row[1] for row in mark.args[1]} | {"num_passes", "cacert", "srvcrt", "srvkey"}
    engines = {"engine", "engine_args", "tunnel", "ramp", "workers"}  # flags that every script has
    assert {flag.attribute for flag in FLAGS} | engines == tried


def test_passes() -> None:
    info = parsed("-p", "1,2,3,4", min_passes=(1, 0, 1, 2))
    assert (info.num_passes, info.tot_passes) == ((1, 2, 3, 4), 10)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "30_x"),
        ("-Y 40", "40_x"),
        ("-S 5", "30_5"),
        ("-K 4", "30_x_k4"),
        ("-Y 40 -S 0 -K 4", "40_0_k4"),
    ],
)
def test_the_name_of_a_quality(words: str, name: str) -> None:
    assert parsed(*words.split(), quality_y=30, quality_str="none yet").quality_str == name


def test_the_name_of_a_quality_follows_from_a_scripts_own_settings() -> None:
    assert parsed(quality_y=20, quality_s=4, keyframe_distance=16, quality_str=None).quality_str == "20_4_k16"
    assert not hasattr(type("ServerInfo", (), {"quality_y": 20}), "quality_str")


def test_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defs, "debug", False)
    parsed("-D")
    assert Defs.debug


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("-n x", "argument -n/--parts: 'x' is not an integer"),
        ("-n 0", "argument -n/--parts: must be from 1 to 1000000, not 0"),
        ("-n 99999999999", "argument -n/--parts: must be from 1 to 1000000, not 99999999999"),
        ("-n", "argument -n/--parts: expected one argument"),
        ("-n -3", "argument -n/--parts: must be from 1 to 1000000, not -3"),
        ("--retries -1", "argument --retries: must be at least 0, not -1"),
        ("--kill-time -1.5", "argument -m/--kill-time: must be a positive number of seconds, not -1.5"),
        ("-W -b", "argument -W/--workers: expected one argument"),
        ("-Z", "unrecognized arguments: -Z"),
        ("--part 3", "unrecognized arguments: --part 3: did you mean --parts?"),
        ("--bukcet=x", "unrecognized arguments: --bukcet=x: did you mean --bucket?"),
        ("--nothing-like-it", "unrecognized arguments: --nothing-like-it"),
        ("-h 10.0.0.1", "-h is help; the address is -a"),
        ("-n 3 -h ec2.example -b bucket", "-h is help; the address is -a"),
        ("-h10.0.0.1", "-h is help; the address is -a"),
        ("-b s3://mybucket", "bucket s3://mybucket: give the name alone: mybucket"),
        ("-b s3://mybucket/key", "bucket s3://mybucket/key: give the name alone: mybucket"),
        ("-b s3://", "bucket s3://: give the name alone: NAME"),
        (
            "-b my/bucket",
            "there can be no bucket 'my/bucket': a name has 3 to 63 lower-case letters, digits, dots and hyphens",
        ),
        ("-r eu-wets-3", "AWS has no region eu-wets-3: did you mean eu-west-3?"),
        ("-r us-east-1,moon-base-7", "AWS has no region moon-base-7, as far as boto3 knows"),
        ("-r virginia", "there is no region 'virginia': one looks like us-east-1"),
        ("extra", "unrecognized arguments: extra"),
        ("-N 1,2 -n 2", "-N gives the exact parts: it does not go together with -n"),
        ("-N 1,2 -o 2", "-N gives the exact parts: it does not go together with -o"),
        ("-N 1,,2", "argument -N/--part-list: '1,,2' is not a comma-separated list without gaps"),
        ("-N 1,1", "-N names a part twice"),
        ("-r ,", "argument -r/--region/--regions: ',' is not a comma-separated list without gaps"),
        ("-r=", "argument -r/--region/--regions: '' is not a comma-separated list without gaps"),
        ("-t 65536", "argument -t/--port: must be from 0 to 65535, not 65536"),
        ("-m 0", "argument -m/--kill-time: must be a positive number of seconds, not 0"),
        ("-m soon", "argument -m/--kill-time: 'soon' is not a number"),
        ("--backup 1", "argument --backup: must be above 1, not 1"),
        ("--backup x", "argument --backup: 'x' is not a number"),
        ("-p 1,2,3", "-p takes 4 numbers of passes, at least 0,0,0,0"),
        ("-O no/such/dir", "cannot write no/such/dir: no such directory"),
        ("--out-file=", "argument -O/--out-file: it is empty"),
        ("--profile=", "argument -P/--profile: it is empty"),
        ("--record=", "argument --record: it is empty"),
        ("--record /proc", "cannot write into /proc for the record: No such file or directory"),
        ("-O /", "cannot write /: it is a directory"),
        ("-P /tmp", "cannot write /tmp: it is a directory"),
        ("-l=", "argument -l/--function: it is empty"),
        ("-b=", "argument -b/--bucket: it is empty"),
        ("-O=", "argument -O/--out-file: it is empty"),
        ("-q 1,x", "argument -q/--quality-values: 'x' is not an integer"),
        ("-T 65535 -R 3", "-T 65535 and -R 3: the last relay's port would be 65537"),
    ],
)
def test_what_wrong_flags_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, error: str
) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        parsed(*words.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].endswith(f": {error}")
    assert "--help" in said[1]


@pytest.mark.parametrize(
    ("number", "taken"), [(socket.EAI_NONAME, False), (socket.EAI_NODATA, False), (socket.EAI_AGAIN, True)]
)
def test_an_address_that_is_nobodys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, taken: bool
) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror(number, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    if taken:
        assert parsed("-a", "my.server").host_addr == "my.server"
        return
    with pytest.raises(SystemExit) as ended:
        parsed("-a", "my.server")
    assert ended.value.code == 2
    assert "there is no host 'my.server'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parsed(host_addr="my.server")


def test_addresses_need_no_look_up() -> None:
    for address in ("10.0.0.1", "::1", "localhost"):
        assert parsed("-a", address).host_addr == address


def test_an_endpoint_of_ones_own_may_have_regions_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert parsed("-r", "moon-base-7").regions == ["moon-base-7"]
    assert parsed(regions=["us-gov-west-1", "ap-southeast-5"]).regions


def test_h_alone_is_help_and_U_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-h"], ["-h", "-n", "3"], ["-h", ""]):
        with pytest.raises(SystemExit) as ended:
            parsed(*words)
        assert ended.value.code == 0
    assert "-U" in capsys.readouterr().out
    assert parsed("-U").upload_states is True


def test_quality_values_have_a_name_too() -> None:
    info = parsed("-q", "5,9")
    assert (info.quality_values, info.quality_valstring) == ([5, 9], "5_9")


@pytest.mark.parametrize("words", ["-K 8", "-K 8 -p 1,0,3,2", "-p 1,0,3,2 -K 8"])
def test_a_keyframe_distance_sets_the_passes(words: str) -> None:
    info = parsed(*words.split(), num_passes=(1, 0, 3, 2), min_passes=(1, 0, 1, 2), tot_passes=6)
    assert (info.num_passes, info.tot_passes) == ((1, 8, 0, 0), 9)


def test_a_keyframe_distance_sets_no_passes_where_there_are_none() -> None:
    info = type("ServerInfo", (), {"keyframe_distance": None})
    server.options(info, ["-K", "8"])
    assert not hasattr(info, "num_passes")


def test_the_originals_usage_str_and_to_numlist(capsys: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"num_parts": 3})
    with pytest.raises(SystemExit):
        server.options(info, ["--help"])
    assert capsys.readouterr().out == server.usage_str(info)
    numbers = [7]
    assert server.to_numlist("1,2", numbers) is numbers
    assert numbers == [7, 1, 2]
    assert server.to_numlist("-1") == [-1]
    with pytest.raises(UsageError, match="'x' is not an integer"):
        server.to_numlist("1,x")


def test_a_flag_exists_only_with_its_attribute(capsys: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"num_parts": 3})
    for words in (["-b", "bucket"], ["--bucket=bucket"]):
        with pytest.raises(SystemExit):
            server.options(info, words)
        name = words[0].partition("=")[0]
        assert f"there is no {name} here: this script's ServerInfo has no bucket" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        server.options(info, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--parts" in text
    assert "(3)" in text
    assert "--bucket" not in text
    assert "--worker-cert" not in text
    assert not hasattr(info, "worker_cert")


# Keys

KEYS = {"cacert": None, "srvcrt": None, "srvkey": None}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    keys.write_job_key_files(tmp_path)
    return tmp_path


def test_keys_are_made_for_the_run() -> None:
    one, other = parsed(**KEYS), parsed(**KEYS)
    for attribute in ("cacert", "srvcrt", "srvkey", "worker_cert", "worker_key"):
        body = getattr(one, attribute)
        assert body
        assert set(body) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= ")
        assert body != getattr(other, attribute)
    assert one.srvkey != one.worker_key


def test_a_script_may_ask_for_keys_that_the_original_reads(capsys: pytest.CaptureFixture[str]) -> None:
    info = parsed(key_type="rsa", **KEYS)
    for body in (info.srvkey, info.worker_key):
        assert util.format_ssl_key(body).startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert util.format_ssl_key(parsed(key_type="ec", **KEYS).srvkey).startswith("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(SystemExit) as ended:
        parsed(key_type="dsa", **KEYS)
    assert ended.value.code == 2
    assert "key_type is 'dsa': it is 'ec' or 'rsa'" in capsys.readouterr().err


FLAGS_OF_FILES = "-c ca_cert.pem -s server_cert.pem -k server_key.pem"


def test_keys_from_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = parsed(*FLAGS_OF_FILES.split(), **KEYS)
    assert info.worker_key == info.srvkey
    assert "the server's own key is sent to the workers" in capsys.readouterr().err
    more = "--worker-cert worker_cert.pem --worker-key worker_key.pem"
    info = parsed(*FLAGS_OF_FILES.split(), *more.split(), **KEYS)
    assert info.worker_key != info.srvkey
    assert capsys.readouterr().err == ""


def test_keys_from_the_environment(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in [
        ("CA_CERT", "ca_cert"),
        ("SRV_CERT", "server_cert"),
        ("SRV_KEY", "server_key"),
        ("WORKER_CERT", "worker_cert"),
        ("WORKER_KEY", "worker_key"),
    ]:
        monkeypatch.setenv(variable, f"{name}.pem")
    by_variables = parsed(**KEYS)
    more = "--worker-cert worker_cert.pem --worker-key worker_key.pem"
    assert by_variables.srvkey == parsed(*FLAGS_OF_FILES.split(), *more.split(), **KEYS).srvkey


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("-c ca_cert.pem", "go together: give -c, -s and -k"),
        (FLAGS_OF_FILES + " --worker-cert worker_cert.pem", "--worker-cert and --worker-key go together"),
        (FLAGS_OF_FILES.replace("server_key", "missing"), "missing.pem"),
        (FLAGS_OF_FILES.replace("server_key", "worker_key"), "worker_key.pem"),
    ],
)
def test_wrong_key_files(files: Path, capsys: pytest.CaptureFixture[str], words: str, error: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words.split(), **KEYS)
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert error in said[0]


def test_key_files_that_the_environment_names_in_part(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CA_CERT", "ca_cert.pem")
    with pytest.raises(SystemExit):
        parsed(**KEYS)
    assert "give -c, -s and -k (the environment has CA_CERT)" in capsys.readouterr().err


def test_a_workers_pair_that_could_pose_as_the_coordinator(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed(
        *FLAGS_OF_FILES.split(),
        "--worker-cert",
        "server2_cert.pem",
        "--worker-key",
        "server2_key.pem",
        **KEYS,
    )
    assert "server2_cert.pem is good for servers, too" in capsys.readouterr().err


def test_a_relay_of_its_own_needs_keys_of_its_own(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("-T", "0", "-R", "1", **KEYS).state_srv_port == 0
    with pytest.raises(SystemExit):
        parsed("-T", "0", "-R", "1", *FLAGS_OF_FILES.split(), **KEYS)
    assert "-T 0 is for a run that makes its own keys and relay" in capsys.readouterr().err


def test_options_may_be_read_again(files: Path) -> None:
    info = parsed(*FLAGS_OF_FILES.split(), **KEYS)
    before = info.srvkey
    server.options(info, ["-n", "3"])
    assert (info.num_parts, info.srvkey) == (3, before)


def test_a_script_that_names_its_parts_takes_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("-N", "4,5", num_list=[1, 2]).num_list == [4, 5]
    with pytest.raises(SystemExit):
        parsed("-n", "5", num_list=[1, 2])
    assert "this script names its parts itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1:13337", "'127.0.0.1:13337' is neither a name nor an IP address; the port goes with -T"),
        ("relay:13337", "'relay:13337' is neither a name nor an IP address; the port goes with -T"),
        ("[::1]:13337", "'[::1]:13337' is neither a name nor an IP address; the port goes with -T"),
        ("[relay]", "'[relay]' is neither a name nor an IP address; the port goes with -T"),
        ("", "it is empty"),
    ],
)
def test_what_is_no_address_of_a_relay(host: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("-H", host)
    assert ended.value.code == 2
    assert f"argument -H/--state-host: {why}\n" in capsys.readouterr().err


def test_an_ipv6_address_of_the_relay_is_put_in_brackets() -> None:
    assert [parsed("-H", host).state_srv_addr for host in ("::1", "[::1]", "relay")] == [
        "[::1]",
        "[::1]",
        "relay",
    ]


def test_worker_flags_are_there_with_keys() -> None:
    assert [flag.attribute for flag in WORKER_FLAGS] == ["worker_cert", "worker_key"]


def test_a_script_by_itself(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "'''Does a job.'''\nfrom mu import server\n"
        "class ServerInfo:\n    num_parts = 1\n"
        "server.options(ServerInfo)\nprint(ServerInfo.num_parts)\n"
    )

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, str(script), *words], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert run("-n", "4") == (0, "4\n", "")
    assert run("-n", "x") == (
        2,
        "",
        "job.py: argument -n/--parts: 'x' is not an integer\nTry 'job.py --help'.\n",
    )
    status, out, _ = run("-h")
    assert (status, "Does a job." in out) == (0, True)
