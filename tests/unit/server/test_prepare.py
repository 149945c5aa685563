"""Reading a script's ServerInfo into a run's settings."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from mu.errors import UsageError
from mu.machine import listed
from mu.server.ledger import Part
from mu.server.prepare import is_loopback, parts_of, settings_of, setup_of
from mu.server.settings import Setup


def info(**attributes: Any) -> Any:
    return SimpleNamespace(**attributes)


def test_only_what_is_set_takes_the_place_of_a_default() -> None:
    made = settings_of(info(num_parts=3, retries=2, backup=None, kill_time=9.0))
    assert (made.retries, made.backup, made.kill_time, made.hello_timeout) == (2, None, 9.0, 10.0)
    assert len(list(made.parts)) == 3
    assert not made.journal


def test_nothing_is_left_on_what_is_read() -> None:
    given = info(num_parts=2, port_number=0, cacert="ca", srvcrt="crt", srvkey="key")
    before = dict(vars(given))
    settings_of(given)
    setup_of(given)
    assert vars(given) == before


def test_each_setting_of_the_surroundings_is_read() -> None:
    texts = "host_addr cacert srvcrt srvkey worker_cert worker_key out_file profiling record_dir output_dir"
    given = info(
        **{name: f"the {name} of this job" for name in texts.split()},
        **dict.fromkeys(("quiet", "verbose", "resume", "hashed_names", "keys_of_run"), True),
        port_number=13579,
        lambda_function="f",
        regions=["us-east-2"],
        state_srv_addr="127.0.0.1",
        state_srv_port=13337,
    )
    made, default = setup_of(given), Setup()
    left = {
        field.name
        for field in dataclasses.fields(Setup)
        if getattr(made, field.name) == getattr(default, field.name)
    }
    assert left == {"stdout_shown"}  # scripts do not set it


def test_a_record_needs_a_journal_and_the_sizes_of_transfers() -> None:
    given = info(num_parts=2, record_dir="run")
    assert settings_of(given).journal > 0
    assert setup_of(given).event["tell_sizes"] == 1


@pytest.mark.parametrize(
    ("more", "grouped"),
    [
        ({"state_srv_threads": 4, "keyframe_distance": 2}, True),
        ({"state_srv_addr": "127.0.0.1", "keys_of_run": True, "keyframe_distance": 2}, True),
        ({"state_srv_addr": "127.0.0.1", "keys_of_run": False, "keyframe_distance": 2}, False),
        ({"keyframe_distance": 2}, False),
        ({"state_srv_threads": 4}, False),
    ],
)
def test_states_take_a_group_if_workers_meet_at_a_relay(more: dict[str, Any], grouped: bool) -> None:
    assert settings_of(info(num_parts=4, **more)).grouped is grouped


def test_parts_of_a_list_are_known_by_their_listed_numbers() -> None:
    parts = parts_of(info(num_parts=99, num_list=[7, 3]))
    assert [part.number for part in parts] == [0, 1]
    assert [listed(part.number) for part in parts] == [7, 3]


def test_parts_come_group_by_group_of_a_keyframe_distance() -> None:
    parts = parts_of(info(num_parts=5, keyframe_distance=2))
    assert list(parts) == [Part(0, 0), Part(2, 1), Part(4, 2), Part(1, 0), Part(3, 1)]


def test_one_part_if_nothing_is_said_and_none_if_none_are_wanted() -> None:
    assert list(parts_of(info())) == [Part(0, 0)]
    assert list(parts_of(info(num_parts=0))) == []


def test_a_part_named_twice_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="names a part twice"):
        parts_of(info(num_list=[1, 2, 1]))


def test_workers_get_their_own_keys_if_there_are_both() -> None:
    pairs = {"srvcrt": "crt", "srvkey": "key"}
    both = setup_of(info(worker_cert="wc", worker_key="wk", **pairs))
    assert (both.worker_cert, both.worker_key) == ("wc", "wk")
    half = setup_of(info(worker_cert="wc", worker_key=None, **pairs))
    assert (half.worker_cert, half.worker_key) == ("crt", "key")


def test_keys_are_in_no_text_of_the_setup() -> None:
    made = setup_of(
        info(
            cacert="CA-BODY",
            srvcrt="CRT-BODY",
            srvkey="KEY-BODY-OF-THE-JOB",
            worker_key="WK",
            worker_cert="WC",
        )
    )
    assert "BODY" not in repr(made)
    assert "KEY-BODY-OF-THE-JOB" in made.secrets


@pytest.mark.parametrize(
    ("attributes", "function"),
    [({"lambda_function": "f"}, "f"), ({"lambda_function": "f", "no_cost": True}, None), ({}, None)],
)
def test_a_cost_is_looked_up_for_a_function_unless_that_is_not_wanted(
    attributes: dict[str, Any], function: str | None
) -> None:
    assert setup_of(info(**attributes)).function == function


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("10.0.0.1", "::", "0.0.0.0", "localhost.example.com", "")),
    ],
)
def test_only_loopback_addresses_are_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here
