"""The tests of `src/mu/ROOM/X.py` are in `tests/unit/ROOM/test_X.py`; a table has the tests of modules without such a
file."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "mu"

# Modules that are tested together with others, or as processes, and their test files below `tests`.
ELSEWHERE = {
    "__main__": "unit/cli/test_main.py",
    "cli/completion": "unit/cli/test_main.py",
    "cli/demo": "e2e/test_demo.py",
    "cli/doctor_engines": "unit/cli/test_doctor.py integration/test_ssh.py integration/test_slurm.py",
    "cli/genkeys": "unit/tls/test_keys.py",
    "cli/lambdaize": "unit/lambdaize/test_build.py integration/test_lambdaize_scripts.py",
    "cli/launch": "unit/launch/test_launch.py",
    "cli/local": "integration/test_local_command.py",
    "cli/map": "integration/test_map.py",
    "cli/reference": "unit/cli/test_main.py",
    "cli/regions": "unit/cli/test_functions.py unit/cli/test_doctor.py",
    "cli/retry": "integration/test_map.py",
    "cli/stats": "unit/history/test_stats.py",
    "cli/timeline": "unit/history/test_timeline_image.py",
    "cli/watch": "integration/test_watch.py e2e/test_watch.py",
    "cli/worker": "integration/test_standalone.py",
    "console/arguments": "unit/cli/test_main.py unit/server/test_command_line.py",
    "console/system": "unit/server/test_api.py unit/relay/test_thread.py",
    "console/version": "unit/cli/test_main.py",
    "defs": "unit/server/test_command_line.py",
    "engines/address": "integration/test_aws_lambda.py integration/test_ssh.py",
    "engines/aws_lambda": "integration/test_aws_lambda.py",
    "engines/here": "integration/test_here.py",
    "engines/protocol": "unit/engines/test_by_name.py integration/test_here.py",
    "history/runs": "unit/history/test_record.py unit/history/test_schema.py",
    "history/timeline_html": "unit/history/test_timeline_image.py e2e/test_timeline_html.py",
    "jobs/commands": "unit/jobs/test_coroutine_state.py",
    "jobs/context": "unit/jobs/test_coroutine_state.py",
    "jobs/ends": "unit/jobs/test_coroutine_state.py",
    "jobs/errors": "unit/jobs/test_answers.py",
    "jobs/explain": "unit/jobs/test_coroutine_state.py",
    "jobs/job": "unit/jobs/test_run.py",
    "jobs/requests": "unit/jobs/test_coroutine_state.py unit/jobs/test_answers.py",
    "jobs/settings": "unit/jobs/test_run.py",
    "jobs/task": "unit/jobs/test_coroutine_state.py",
    "jobs/tasks": "unit/jobs/test_coroutine_state.py",
    "jobs/unawaited": "unit/jobs/test_run.py",
    "jobs/waiting": "unit/jobs/test_coroutine_state.py",
    "jobs/worker": "unit/jobs/test_coroutine_state.py",
    "lambdaize/needs": "unit/lambdaize/test_build.py",
    "lambdaize/runtime_image": "unit/lambdaize/test_build.py",
    "lambdaize/settings": "unit/lambdaize/test_build.py",
    "launch/build": "unit/console/test_share.py",
    "launch/credentials": "unit/launch/test_launch.py",
    "launch/launcher": "unit/launch/test_launch.py integration/test_launch.py",
    "launch/options": "unit/launch/test_launch.py",
    "launch/service": "unit/launch/test_launch.py",
    "launch/result": "unit/launch/test_launch.py",
    "local/checksums": "unit/local/test_upload.py",
    "local/engine": "integration/test_local_engine.py",
    "local/executor": "integration/test_local_executor.py",
    "local/file_range": "unit/local/test_web_server.py integration/test_local_engine.py",
    "local/failure_reports": "integration/test_local_executor.py",
    "local/fork_server": "integration/test_local_executor.py",
    "local/fork_server_handle": "unit/local/test_outcomes.py integration/test_local_executor.py",
    "local/function_files": "integration/test_local_command.py",
    "local/function_spec": "unit/local/test_outcomes.py integration/test_local_executor.py",
    "local/moto_lambda": "integration/test_local_engine.py",
    "local/sandbox": "integration/test_local_sandbox.py",
    "machine/chain": "unit/test_machine_state.py",
    "machine/command_list": "unit/test_machine_state.py unit/machine/test_declarations.py",
    "machine/places": "unit/machine/test_declarations.py",
    "machine/state": "unit/test_machine_state.py",
    "machine/texts": "unit/test_machine_state.py",
    "mapping/direct_run": "integration/test_map.py",
    "mapping/dry_run": "integration/test_map.py",
    "mapping/earlier": "unit/mapping/test_results.py unit/mapping/test_part.py",
    "mapping/inputs": "unit/mapping/test_feed.py unit/mapping/test_words.py",
    "mapping/job": "unit/mapping/test_part.py",
    "mapping/journals": "unit/mapping/test_part.py integration/test_map.py",
    "mapping/objects": "unit/mapping/test_keys.py integration/test_map.py",
    "mapping/program": "integration/test_map.py",
    "mapping/reach": "integration/test_map.py integration/test_without_linux.py",
    "mapping/retry": "unit/mapping/test_part.py",
    "mapping/settings": "unit/mapping/test_results.py",
    "mapping/target": "integration/test_map.py",
    "pylaunch": "unit/launch/test_launch.py",
    "relay/connections": "unit/relay/test_relay.py",
    "report/choose": "unit/report/test_report.py",
    "report/failure": "unit/report/test_report.py",
    "report/figures": "unit/report/test_display.py",
    "report/live": "unit/report/test_report.py",
    "report/plain": "unit/report/test_report.py",
    "report/reporter": "unit/report/test_report.py",
    "report/worker_log": "unit/report/test_report.py",
    "server/connections": "unit/server/test_acceptor.py",
    "server/engine_choice": "unit/server/test_api.py unit/engines/test_by_name.py",
    "server/flags": "unit/server/test_command_line.py",
    "server/job_keys": "unit/server/test_command_line.py",
    "server/recording": "unit/server/test_finish.py unit/history/test_record.py",
    "server/resume": "e2e/test_resume.py",
    "server/settings": "unit/server/test_prepare.py",
    "testing": "unit/jobs/test_run.py",
    "tls/connection": "unit/wire/test_socket_nb.py",
    "tls/listener": "unit/server/test_acceptor.py",
    "wire/fd_wrapper": "unit/wire/test_socket_nb.py",
    "work/arrival": "unit/test_worker.py integration/test_worker_process.py",
    "work/leftovers": "integration/test_worker_parts.py",
    "work/log": "unit/work/test_state_socket.py integration/test_worker_process.py",
    "work/loop": "unit/test_worker.py",
    "work/outside": "unit/test_worker.py",
    "work/replies": "unit/test_handler.py",
    "work/session": "unit/test_worker.py",
    "work/time_limit": "unit/test_worker.py",
    "work/variables": "unit/test_handler.py unit/work/test_command_template.py",
}
# Test files here that belong to no single module: documentation, examples, tools, several modules together.
NO_MODULE = """
    console/test_writers jobs/test_docs_jobs jobs/test_random_parts launch/test_launch
    launch/test_sigv4 report/test_report server/test_wake test_docs test_inherited_state test_mirror
    test_png2y4m test_public_names test_readme test_setup_script test_site test_typing test_walls test_xcenc_vectors
""".split()  # noqa: SIM905 - a list to read

MODULES = sorted(
    str(path.relative_to(SOURCE).with_suffix("")) for path in SOURCE.rglob("*.py") if path.stem != "__init__"
)


def own(module: str) -> Path:
    """Returns the path of a module's own test file."""
    path = TESTS / "unit" / module
    return path.with_name(f"test_{path.name}.py")


def test_each_module_has_tests() -> None:
    """Each module has its own test file, or a row in the table."""
    assert [module for module in MODULES if not own(module).exists() and module not in ELSEWHERE] == []
    for names in ELSEWHERE.values():
        for name in names.split():
            assert "def test_" in (TESTS / name).read_text()


def test_there_is_no_row_for_a_module_that_is_gone() -> None:
    assert ELSEWHERE.keys() <= set(MODULES)


def test_each_file_of_tests_is_of_a_module() -> None:
    of_modules = {own(module) for module in MODULES}
    others = {
        str(path.relative_to(TESTS / "unit").with_suffix(""))
        for path in (TESTS / "unit").rglob("test_*.py")
        if path not in of_modules
    }
    assert others == set(NO_MODULE)
