# SPDX-License-Identifier: Apache-2.0
"""shunt chaos: every shipped scenario and random ones of fixed seeds are green; a broken setup is not;
the same seed is the same run; Ctrl-C leaves nothing."""
import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import procs
from harness.daemon import model, openai, sim
from harness.paths import BUILD, ROOT, SANITIZED, SLOW
from harness.upstream import answer
from harness.wait import until

SCENARIOS = sorted((ROOT / "tests/scenarios").glob("*.yaml"))
SOAK = "SHUNT_KILLS" in os.environ
SMALL = """
name: small
config:
  gateways: 1
  backends: [{name: a, kind: sim, probe_ms: 100ms, %s
              sim: {seed: 7, ttft_ms: 1ms, tokens_per_s: 0, tokens: 8, models: [m]}}]
  models: [{name: m, deployments: [{backend: a}]}]
%s
load: [{model: m, count: 6, clients: 1, stream: 50%%}]
faults: %s
invariants: {%s}
"""


def chaos(*args, seconds=60, **env):
    return subprocess.run([BUILD / "shunt", "chaos", *map(str, args)], capture_output=True, text=True,
                          timeout=seconds * SLOW, env={**os.environ, **env})


def small(tmp_path, faults="[]", invariants="answered: 100%", config="", backend=""):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL % (backend, config, faults, invariants))
    return path


def verdict(done):
    v = json.loads(done.stdout)
    return v, {i["name"]: i for i in v["invariants"]}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenario(path):
    env = {}
    if SANITIZED and "memory:" in path.read_text():
        # What was freed stays in quarantine, which is no growth; elsewhere it finds late uses.
        env["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"] + ":quarantine_size_mb=2"
    done = chaos("run", path, "--json", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    v, _ = verdict(done)
    assert set(v) == {"seed", "requests", "answered", "lost", "duplicated", "late", "invariants", "ok"}
    assert v["ok"] is True and v["requests"] > 0


def test_there_are_enough_scenarios_with_a_thread():
    cited = [p for p in SCENARIOS if re.search(r"[\w-]+#\d+", p.read_text())]
    assert len(cited) >= 25, "a scenario stands for a real failure: cite its thread"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(1, 21) if SOAK else (1, 2))
def test_random_scenarios_kill_no_answer(seed):
    done = chaos("random", "--seed", seed, "--minutes", 2 if SOAK else 5 / 60, seconds=200)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("faults,invariants,config,broken", [
    ("[{at: 0, do: duplicate_event tokens=2}]", "answered: 100%", "", "tokens"),
    ("[{at: 0, do: status status=500}]", "answered: 100%, in_time: no", "", "answered"),
    ("[{at: 0, do: bus_delay message=ChatStart time=100ms}]", "in_time: 20ms", "", "in_time"),
    ("[{at: 0, do: stall tokens=99 count=1}, {at: 0, do: kill worker=a after=1h}]", "answered: 0%",
     "", "faults_hit"),
    ("[]", "answered: 100%", "  journal: {enabled: no}", "journal"),
    ("[]", "fallback: [b]", "", "fallback"),
    ("[]", "answered_by: {b: 10%}", "", "answered_by"),
    ("[{at: 0, do: status status=500 count=2}]", "answered: 0%, errors: [auth]", "", "errors"),
    ("[{at: 0, do: drip bytes=400 time=1ms}]", "recovered_within: 60m", "", "recovered_within"),
], ids=lambda x: x if isinstance(x, str) and x.isidentifier() else "")
def test_a_broken_setup_is_not_ok(tmp_path, faults, invariants, config, broken):
    extra = "  routes: [{name: auto, models: [m], request_ms: 400ms}]\n  limits: {request_ms: 400ms}\n"
    done = chaos("run", small(tmp_path, faults, invariants, extra + config), "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    v, rows = verdict(done)
    assert v["ok"] is False and rows[broken]["held"] is False, v
    if broken == "tokens":
        assert v["duplicated"] > 0 and rows["exactly_once"]["held"] is False


def test_foreign_text_of_a_running_daemon_is_seen(daemon, upstream, tmp_path):
    u = upstream(models=["m"], chat=answer("what nobody was to say"))
    d = daemon({"backends": [openai("a", u.url)], "models": [model("m", "a")]})
    done = chaos("run", small(tmp_path), "--json", "--url", d.url)
    v, rows = verdict(done)
    assert done.returncode == 1 and v["answered"] == 0, v
    assert rows["tokens"]["held"] is False and "journal" not in rows
    kill = small(tmp_path, "[{at: 0, do: kill worker=a}]")
    refused = chaos("run", kill, "--url", d.url)
    assert refused.returncode == 1 and "of the runner's own" in refused.stderr


@pytest.fixture
def administered(daemon, tmp_path):
    """A daemon that runs already, and what an admin of it says."""
    keys, admins = tmp_path / "keys", tmp_path / "admins"
    keys.write_text("ada:sk-ada-1234\n")
    admins.write_text("sk-admin-1234\n")
    for path in (keys, admins):
        path.chmod(0o600)
    d = daemon({"backends": [sim("a", models=["m"])], "models": [model("m", "a")],
                "auth": {"keys_file": str(keys), "admin_keys_file": str(admins)}})
    return d, {"authorization": "Bearer sk-admin-1234"}


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_running_daemon_is_left_without_the_runs_faults(administered, tmp_path, interrupted):
    d, admin = administered

    def faults():
        return [f["spec"] for f in d.get("/admin/faults", headers=admin).json()["faults"]]

    assert d.post("/admin/faults", {"spec": "delay time=1ms"}, headers=admin).status_code == 200
    others = faults()
    path = small(tmp_path, "[{at: 0, do: status status=503}, {at: 0, do: delay time=2ms count=1}]")
    path.write_text(path.read_text().replace("count: 6", "rate: 20, time: 20s" if interrupted
                                             else "count: 3"))
    p = subprocess.Popen([BUILD / "shunt", "chaos", "run", path, "--url", d.url],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env={**os.environ, "SHUNT_KEY": "sk-admin-1234"})
    if interrupted:
        until("its faults are set", lambda: len(faults()) > 2)
        p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=40 * SLOW)
    assert p.returncode == 1, err
    assert faults() == others, "what the run set is left, or what others set is gone"


def test_what_came_before_the_run_is_no_fault_of_it(administered, tmp_path):
    d, admin = administered
    assert d.post("/admin/faults", {"spec": "delay time=1ms"}, headers=admin).status_code == 200
    assert d.post("/v1/chat/completions", {"model": "m", "messages": [
        {"role": "user", "content": "x"}]}, headers=admin).status_code == 200
    until("it came", lambda: "faults_injected" in d.get("/metrics", headers=admin).text)
    assert d.client().delete("/admin/faults", headers=admin).status_code == 200
    done = chaos("run", small(tmp_path, "[{at: 0, do: delay time=1ms after=1h}]"), "--json",
                 "--url", d.url, SHUNT_KEY="sk-admin-1234")
    _, rows = verdict(done)
    assert rows["faults_hit"]["held"] is False, rows


def test_same_seed_same_trace_and_a_replay_tells_a_difference(tmp_path):
    path = small(tmp_path, "[{at: 0, do: rate_limit every=3 retry_after=0}]", "answered: 50%")
    one, two, other = (tmp_path / n for n in ("one", "two", "other"))
    assert chaos("run", path, "--seed", 9, "--trace", one).returncode == 0
    assert chaos("run", path, "--seed", 9, "--trace", two).returncode == 0
    assert chaos("run", path, "--seed", 10, "--trace", other).returncode == 0
    assert one.read_bytes() == two.read_bytes() and one.read_bytes() != other.read_bytes()
    head, *rows = map(json.loads, one.read_text().splitlines())
    assert head["seed"] == 9 and len(rows) == 6
    again = chaos("run", path, "--replay", one, "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["seed"] == 9
    one.write_text(one.read_text().replace('"right":true', '"right":false', 1))
    done = chaos("run", path, "--replay", one)
    assert done.returncode == 1 and "first in line" in done.stderr
    path.write_text(path.read_text() + "# changed\n")
    assert "another scenario" in chaos("run", path, "--replay", one).stderr


def test_the_page_stands_alone(tmp_path):
    page = tmp_path / "page.html"
    path = small(tmp_path, "[{at: 0, do: drip bytes=400 time=1ms}]")
    done = chaos("run", path, "--html", page)
    assert done.returncode == 0 and done.stdout.endswith("\nok\n"), done.stdout + done.stderr
    text = page.read_text()
    assert text.count("<rect") == 6 and "drip bytes=400" in text and "held" in text
    assert "http://" not in text and "<script" not in text


@pytest.mark.parametrize("change,what", [
    (("load:", "laod:"), "small.yaml:9: unknown key `laod`; did you mean `load`?"),
    (("count: 6", "count: six"), "small.yaml:9: count is no number"),
    (("count: 6", "rate: 4294967302, time: 1s"), "`rate` with `time` must make 1 to"),
    (("faults: []", "faults: [{at: 0, do: cutt}]"), "small.yaml:10: kind:"),
    (("kind: sim", "kind: simm"), "small.yaml:4: config: "),
    (("{answered: 100%}", "{answered: many}"), "small.yaml:11: `answered` takes a limit"),
    (("name: small", "run_dir: /"), "unknown key `run_dir`"),
    (("gateways: 1", "run_dir: /tmp"), "`run_dir` is the runner's to set"),
])
def test_a_wrong_scenario_says_where(tmp_path, change, what):
    path = small(tmp_path)
    path.write_text(path.read_text().replace(*change))
    done = chaos("run", path)
    assert done.returncode == 1 and what in done.stderr, done.stderr


def test_the_seed_of_a_random_scenario_is_its_text(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        assert chaos("random", "--seed", 5, "--minutes", 0.01, "--out", path).returncode == 0
    assert one.read_text() == two.read_text()
    assert chaos("run", one).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_runner_is_the_end_of_everything(tmp_path, number):
    path = small(tmp_path)
    path.write_text(path.read_text().replace("count: 6", "rate: 20, time: 30s"))
    with tempfile.TemporaryDirectory(prefix="shunt-e2e-") as tmp:
        p = subprocess.Popen([BUILD / "shunt", "chaos", "run", path], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": tmp})
        log = until("its daemon runs", lambda: next(
            (f for f in Path(tmp).glob("shunt-chaos-*/log") if "backend_up" in f.read_text()), None))
        daemon = int(until("shuntd's pid", lambda: next(
            (c for c in procs.children(p.pid)), None)))
        workers = until("its workers run", lambda: procs.workers(daemon))
        assert log
        p.send_signal(number)
        _, err = p.communicate(timeout=20 * SLOW)
        pids = [daemon, *(w.pid for w in workers)]
        until("all processes are gone", lambda: not any(procs.read(n, "cmdline") for n in pids), 10)
        if number != signal.SIGKILL:
            assert p.returncode == 1 and b"interrupted" in err
            assert not list(Path(tmp).iterdir()), "its folder is left"
