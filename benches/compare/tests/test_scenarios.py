"""The scenarios name servers that there are, and judge by figures that are measured."""

import json
import subprocess
import sys

import applications_alone
import blocked
import compare
import pytest
import report
import servers
import sharing
import wsgi
from conftest import COMPARE
from measures import Options, Paired, over_best_peer, wanted
from scenarios import SCENARIOS
from servers import CALLS, Role, Stage, Wrong

COMMANDS = compare.variants(servers.COMMANDS) | servers.COMMANDS | wsgi.COMMANDS | sharing.COMMANDS | blocked.COMMANDS
PAIRED = [scenario for scenario in SCENARIOS if isinstance(scenario, Paired)]


def named(scenario):
    if not isinstance(scenario, Paired):
        front = " behind nginx" if getattr(scenario, "role", Role()).front else ""
        return [f"{name}{front}" for name in scenario.servers]
    return [f"{name} behind nginx" if scenario.role.front else name for names in scenario.comparisons for name in names]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_server_has_a_command(scenario):
    assert set(named(scenario)) <= set(COMMANDS)


def test_names_are_unique():
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def results(scenario, ours):
    """As if all had cost the same, but for ours."""
    found = {}
    for name in (name for names in scenario.comparisons for name in names):
        spread = {"median": ours if name.startswith("ferricorn") else 1.0}
        found[name] = {} if name == scenario.comparisons[0][0] else {"cpu_ratio": spread, "cpu_difference": spread, "rate_ratio": spread}
    return found


@pytest.mark.parametrize("scenario", PAIRED, ids=lambda scenario: scenario.name)
def test_every_target_is_a_figure_of_its_scenario(scenario):
    for target in scenario.targets:
        assert target.judge(results(scenario, 0.01))["verdict"] in ("met", "MISSED")
        assert target.judge({})["verdict"] == "not measured"


def test_a_target_is_missed_when_it_is():
    wsgi_hello = next(scenario for scenario in PAIRED if scenario.name == "wsgi")
    verdicts = {ratio: [target.judge(results(wsgi_hello, ratio))["verdict"] for target in wsgi_hello.targets] for ratio in (0.05, 1.2)}
    assert verdicts == {0.05: ["met"] * 3, 1.2: ["MISSED"] * 3}


def test_the_best_peer_is_none_of_ours_and_no_floor():
    def of(ratio):
        return {"cpu_ratio": {"median": ratio}}

    measured = {"bare": {}, CALLS: of(0.1), "ferricorn": of(0.5), "ferricorn wsgi": of(1.2), "one": of(2.0), "other": of(1.5)}
    assert over_best_peer("ferricorn wsgi")(measured) == 1.2 / 1.5


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path, None, 0, {"fails": "sh -c 'echo because; exit 3'", "absent": "/nowhere/program", "named": "A=b C='d e' env"})
    yield stage
    stage.stop()


def test_a_server_that_does_not_start_or_is_not_there_is_an_error(stage):
    with pytest.raises(Wrong, match="(?s)fails ended with status 3.*because"):
        stage.start("fails")
    options = Options(None, 1, None, 0, 0)
    assert not wanted("absent", stage, options)
    assert options.failures == ["absent: there is no /nowhere/program"]
    assert wanted("fails", stage, options) and len(options.failures) == 1
    left_out = Options(None, 1, None, 0, 0, only=frozenset({"fails"}))
    assert not wanted("absent", stage, left_out) and left_out.failures == []


def test_variables_may_stand_before_a_command(stage):
    assert stage._command("named", 1, stage.work, "app") == ({"A": "b", "C": "d e"}, ["env"])


@pytest.mark.parametrize("scenario", [s for s in PAIRED if s.role.app], ids=lambda scenario: scenario.name)
def test_its_application_answers_what_is_expected(scenario):
    body = applications_alone.answer(scenario.role.app, dict(scenario.role.environment), scenario.load.post)
    assert body == (scenario.expected if scenario.expected is not None else b"Hello, World!")


def test_calls_without_a_server_are_counted(tmp_path):
    stage = Stage(tmp_path, None, 0, {CALLS: f"{sys.executable} {COMPARE}/peers/serve.py calls {{app}}"})
    try:
        server = stage.start(CALLS, Role("wsgi:hello"))
        assert server.said() == {"body": "Hello, World!"}
        said = server.call(1)
        assert said["requests"] > 100 and 0 < said["cpu"] <= said["seconds"] * 1.1
    finally:
        stage.stop()


def test_a_page_is_made_of_results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "pyplot", None)
    scenario = next(scenario for scenario in PAIRED if scenario.name == "wsgi-nginx")
    measured = {
        name: {"cpu": 5.0, "rate": 1e4, "busy": 0.5, "delayed": 0.0, "p50": 1.0, "p99": 2.0, "errors": [], **figures}
        for name, figures in results(scenario, 1.1).items()
    }
    for figures in measured.values():
        for key in "cpu_ratio", "cpu_difference":
            if key in figures:
                figures[key] = figures[key] | {"lower": 0.9, "upper": 1.2}
    verdicts = [target.judge(measured) for target in scenario.targets]
    machine = compare.machine(0, 1)
    text = report.page({"machine": machine, "scenarios": {scenario.name: {"servers": measured, "verdicts": verdicts}}}, tmp_path)
    assert scenario.title in text and "| ferricorn wsgi | 1.100 | 0.900-1.200 |" in text and "**missed** (1.1 x the best peer)" in text


def test_the_command_lists_and_chooses():
    listed = subprocess.run([sys.executable, COMPARE / "compare.py", "--list"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [scenario.name for scenario in SCENARIOS]
    refused = subprocess.run([sys.executable, COMPARE / "compare.py", "--group", "nothing"], capture_output=True, text=True)
    assert refused.returncode == 2 and "invalid choice" in refused.stderr
    assert json.dumps(compare.pinned_versions()).count("==") == 0 and "granian" in compare.pinned_versions()
