# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: each does what it says through the real error paths, only admins set them, and
nothing is left when they are over."""
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from harness.daemon import model, openai, sim
from harness.paths import BUILD, ROOT, SLOW
from harness.upstream import answer, chunk
from harness.wait import until

TEXT = "one two three four five six seven eight"
# What each kind of a whole and of a streamed answer is for the client, alone and without a cascade.
OUTCOMES = {
    "status status=500": (502, "upstream_error"),
    "status status=503 body=busy": (503, "overloaded"),
    "rate_limit retry_after=7s": (429, "rate_limited"),
    "refuse": (502, "upstream_connect"),
    "tls": (502, "upstream_connect"),
    "reset": (502, "upstream_reset"),
    "garbage": (502, "upstream_malformed"),
    "cut": (502, "upstream_cut"),
    "reset_body": (502, "upstream_cut"),
    "bad_json": (502, "upstream_malformed"),
    "wrong_length bytes=10": (502, None),
    "hang": (504, "upstream_timeout"),
    "stall": (504, "upstream_timeout"),
}
# For tests that count what each call met: a breaker would hold a call back, or have it tried again
# after its cooldown, once an earlier fault has opened it. The others run with breakers as shipped.
NO_BREAKER = {"enabled": False}


def words(x):
    """Script: a stream that begins with text, as the simulated model's does."""
    if not x.request.json().get("stream"):
        return answer(TEXT)(x)
    x.begin_stream()
    for word in TEXT.split(" "):
        x.event(chunk({"content": word + " "}))
    x.event(chunk({}, "stop"))
    x.event("[DONE]")
    return x.end_stream()


class Faulty:
    """A daemon with one real upstream `up`, a simulated `sim`, and an admin's way to its faults."""

    def __init__(self, d):
        self.d = d
        self.admin = httpx.Client(transport=httpx.HTTPTransport(uds=d.socket_path),
                                  base_url="http://shunt", timeout=20 * SLOW)

    def add(self, spec):
        r = self.admin.post("/admin/faults", json={"spec": spec})
        assert r.status_code == 200, r.text
        return r.json()["id"]

    def clear(self, which=""):
        r = self.admin.delete(f"/admin/faults{which}")
        assert r.status_code == 200, r.text
        return r.json()["cleared"]

    def list(self):
        return self.admin.get("/admin/faults").json()["faults"]

    def chat(self, name, fault=None, stream=False, text="Hello there."):
        return self.admin.post("/v1/chat/completions", json={
            "model": name, "stream": stream, "messages": [{"role": "user", "content": text}]},
            headers={"x-shunt-fault": fault} if fault else {})

    def injected(self):
        text = self.d.get("/metrics").text
        rows = [line for line in text.splitlines()
                if line.startswith("shunt_faults_injected_total{")]
        return {r.split('kind="')[1].split('"')[0]: int(r.rsplit(" ", 1)[1]) for r in rows}


@pytest.fixture
def faulty(daemon, upstream):
    def make(**config):
        u = upstream(models=["m"], chat=words)
        keys = {"first_byte_ms": 600, "stall_ms": 600}
        d = daemon({"backends": [openai("up", u.url, **keys), sim("sim", models=["s"]) | keys],
                    "models": [model("m", "up"), model("s", "sim")],
                    "routes": [{"name": "auto", "models": ["m", "s"]},
                               {"name": "pair", "models": ["m", "s"],
                                "strategy": "quality_first"}], **config})
        f = Faulty(d)
        f.upstream = u
        return f
    return make


def content(events):
    return "".join(json.loads(e)["choices"][0]["delta"].get("content") or ""
                   for e in events if e != "[DONE]" and json.loads(e)["choices"])


def events_of(r):
    return [line[6:] for line in r.text.splitlines() if line.startswith("data: ")]


def met(r):
    return r if "x-shunt-fault" in r.headers else None


def ready(f, name):
    """Wait until the profiler has it up again after what a test did to it."""
    def up():
        rows = [m for m in f.admin.get("/admin/status").json()["models"] if m["name"] == name]
        return rows and rows[0]["health"] == "up"
    until(f"{name} is up", up, 10)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ["m", "s"], ids=["real upstream", "simulated"])
def test_each_kind_has_its_typed_outcome(faulty, name, stream):
    f = faulty(breaker=NO_BREAKER)
    for spec, (status, code) in OUTCOMES.items():
        # after some failures it is down until the profiler has looked at it again
        r = until(f"{spec} meets a call", lambda s=spec: met(f.chat(name, fault=s, stream=stream)), 10)
        assert r.status_code == status, (spec, r.text)
        assert r.headers["x-shunt-fault"] == spec.split()[0] + "#request", spec
        if code and "fault on purpose" not in r.text:
            assert r.json()["error"]["code"] == code, (spec, r.text)
        if "retry_after" in spec:
            assert r.headers["retry-after"] == "7"
    until("it answers again", lambda: f.chat(name).status_code == 200, 10)


@pytest.mark.parametrize("name", ["m", "s"], ids=["real upstream", "simulated"])
def test_what_lets_the_answer_through(faulty, name):
    f = faulty()
    plain = content(events_of(f.chat(name, stream=True)))
    whole = f.chat(name).json()["choices"][0]["message"]["content"]
    begun = time.monotonic()
    r = f.chat(name, fault="delay time=300ms")
    assert r.json()["choices"][0]["message"]["content"] == whole
    assert time.monotonic() - begun >= 0.3
    r = f.chat(name, fault="drip bytes=100 time=5ms", stream=True)
    assert content(events_of(r)) == plain and events_of(r)[-1] == "[DONE]"
    events = events_of(f.chat(name, fault="duplicate_event tokens=2", stream=True))
    words = plain.split()
    assert content(events).split() == words[:3] + words[2:], "the third piece did not come twice"
    events = events_of(f.chat(name, fault="wrong_length", stream=True))
    assert content(events) == plain and events[-1] == "[DONE]"


@pytest.mark.parametrize("kind", ["cut", "reset_body", "stall", "bad_json", "bad_event"])
@pytest.mark.parametrize("name", ["m", "s"], ids=["real upstream", "simulated"])
def test_a_stream_broken_after_some_tokens_ends_by_an_honest_error(faulty, name, kind):
    f = faulty()
    plain = content(events_of(f.chat(name, stream=True)))
    r = f.chat(name, fault=f"{kind} tokens=3", stream=True)
    events = events_of(r)
    assert r.status_code == 200 and r.headers["x-shunt-fault"] == f"{kind}#request"
    assert "[DONE]" not in events and "error" in json.loads(events[-1]), events[-2:]
    assert content(events[:-1]).split() == plain.split()[:3]


def test_a_fault_of_the_first_candidate_cascades(faulty):
    f = faulty(models=[model("m", "up", quality=0.9), model("s", "sim", quality=0.1)])
    f.add("reset backend=up")
    r = f.chat("pair")
    assert r.status_code == 200 and r.headers["x-shunt-backend"] == "sim"
    assert r.headers["x-shunt-attempts"] == "2"
    assert r.headers["x-shunt-fault"] == "reset#1", "the hit of the first attempt is not told"
    assert not f.upstream.chats(), "the real upstream was asked"
    assert f.clear() == 1
    ready(f, "m")
    r = f.chat("m")
    assert r.status_code == 200 and "x-shunt-fault" not in r.headers


def test_same_seed_same_requests_same_decisions(faulty):
    f = faulty(breaker=NO_BREAKER)
    runs = []
    for _ in range(2):
        fault = f.add("rate_limit backend=sim probability=0.4 seed=11 count=1000")
        runs.append([f.chat("s").status_code for _ in range(30)])
        draws = [line for line in f.d.events("fault_injected") if f"fault={fault} " in line[3]]
        numbers = [int(line[3].split("draw=")[1].split()[0]) - 1 for line in draws]
        assert numbers == [i for i, status in enumerate(runs[-1]) if status == 429]
        f.clear(f"/{fault}")
    assert runs[0] == runs[1] and {200, 429} == set(runs[0])


def test_every_count_model_and_route_are_kept_to(faulty):
    f = faulty(breaker=NO_BREAKER)
    f.add("rate_limit model=s every=3 count=2")
    assert [f.chat("s").status_code for _ in range(9)] == [200, 200, 429, 200, 200, 429, 200, 200, 200]
    assert f.chat("m").status_code == 200
    until("the spent fault is gone", lambda: not f.list(), 5)
    assert f.d.wait_log(r"fault_over fault=1 .*hits=2")
    f.add("rate_limit route=pair for=1h")
    assert f.chat("pair").status_code == 429 and f.chat("auto").status_code == 200


def test_a_user_can_be_met_alone(faulty, tmp_path):
    keys, admins = tmp_path / "keys", tmp_path / "admins"
    keys.write_text("ada:sk-ada-1234\neve:sk-eve-1234\n")
    admins.write_text("sk-admin-1234\n")
    for path in (keys, admins):
        path.chmod(0o600)
    f = faulty(auth={"keys_file": str(keys), "admin_keys_file": str(admins)})
    f.add("rate_limit user=eve")

    def status(key, **headers):
        return f.d.post("/v1/chat/completions", {
            "model": "s", "messages": [{"role": "user", "content": "x"}]},
            headers={"authorization": f"Bearer {key}", **headers})
    assert status("sk-ada-1234").status_code == 200
    assert status("sk-eve-1234").status_code == 429
    # over TCP an admin's key opens what a client's does not
    fault = {"x-shunt-fault": "rate_limit"}
    assert status("sk-ada-1234", **fault).status_code == 403
    assert status("sk-admin-1234", **fault).status_code == 429
    for key, want in (("sk-ada-1234", 403), ("sk-admin-1234", 200)):
        headers = {"authorization": f"Bearer {key}"}
        assert f.d.get("/admin/faults", headers=headers).status_code == want
        r = f.d.post("/admin/faults", {"spec": "rate_limit"}, headers=headers)
        assert r.status_code == want


def test_off_by_default_and_impossible_without_the_admin_role(faulty):
    f = faulty()
    assert f.list() == [] and not f.injected()
    assert "faults_injected" not in f.d.get("/metrics").text
    r = f.d.post("/v1/chat/completions", {"model": "s", "messages": []},
                 headers={"x-shunt-fault": "status"})
    assert r.status_code == 403 and "x-shunt-fault" in r.json()["error"]["message"]
    for ask in (lambda c: c.get("/admin/faults"), lambda c: c.delete("/admin/faults"),
                lambda c: c.delete("/admin/faults/1"),
                lambda c: c.post("/admin/faults", json={"spec": "status"})):
        with f.d.client() as c:
            assert ask(c).status_code == 403
    assert f.list() == []


@pytest.mark.parametrize("spec,what", [
    ("stats", "did you mean `status`"), ("status status=20", "not between 400 and 599"),
    ("status backend=u", "no backend is named `u`"), ("kill worker=nobody", "no worker"),
    ("kill", "worker: is required"), ("status route=aut", "did you mean `auto`"),
])
def test_a_wrong_fault_is_refused_and_says_why(faulty, spec, what):
    f = faulty()
    r = f.admin.post("/admin/faults", json={"spec": spec})
    assert r.status_code == 400 and what in r.json()["error"]["message"], r.text
    assert f.admin.post("/admin/faults", content=b"{").status_code == 400
    assert f.admin.delete("/admin/faults/x").status_code == 400
    assert f.chat("s", fault="kill worker=sim").status_code == 400, "a request may kill a worker"
    assert f.list() == []


def test_in_the_config_loud_and_gone_with_it(faulty):
    rows = [{"kind": "rate_limit", "backend": "sim", "retry_after": "3s"}]
    f = faulty(faults=rows, breaker=NO_BREAKER)
    assert f.d.events("faults_on"), "no warning at the start"
    assert f.chat("s").status_code == 429
    assert [x["from"] for x in f.list()] == ["config"]
    assert f.d.status()["faults"][0]["kind"] == "rate_limit"
    assert 'shunt_faults_active{role="profiler",worker="profiler"} 1' in f.d.get("/metrics").text
    f.d.reload(faults=rows + [{"kind": "rate_limit", "backend": "up", "every": 2}])
    until("the second row is in force", lambda: len(f.list()) == 2, 5)
    assert f.list()[0]["draws"] == 1, "the first row began anew"
    f.d.config.pop("faults")
    f.d.reload()
    until("no fault is in force", lambda: not f.list(), 5)
    assert f.chat("s").status_code == 200
    assert 'shunt_faults_active{role="profiler",worker="profiler"} 0' in f.d.get("/metrics").text


def test_a_reload_that_no_profiler_saw_counts_too(faulty):
    """Who takes faults out of the config must be rid of them, whoever was dead at that moment."""
    f = faulty(faults=[{"kind": "rate_limit", "backend": "sim"}], breaker=NO_BREAKER,
               restart={"delay_ms": "1s", "delay_max_ms": "1s"})
    f.d.allow("worker_died")
    old = f.d.workers("profiler")[0]
    os.kill(old.pid, signal.SIGKILL)
    f.d.wait_log(rf"worker_died .*pid={old.pid}")
    f.d.reload(faults=[{"kind": "status", "backend": "up", "status": 503}])
    f.d.wait_log("reload_done")
    f.d.wait_worker(old)
    until("the new list is in force", lambda: [x["kind"] for x in f.list()] == ["status"], 5)
    until("the old fault is gone", lambda: f.chat("s").status_code == 200, 5)


def test_the_command_line(faulty):
    f = faulty()

    def shunt(*args):
        return subprocess.run([BUILD / "shunt", "fault", *args], capture_output=True, text=True,
                              timeout=20, env={**os.environ, "SHUNT_SOCKET": f.d.socket_path})
    done = shunt("add", "status", "backend=sim", "status=503", "body={\"error\": \"a b\"}")
    assert done.returncode == 0 and "fault 1 is set" in done.stdout, done.stderr
    assert f.chat("s").status_code == 503
    assert json.loads(shunt("list", "--json").stdout)["faults"][0]["hits"] == 1
    assert "status backend=sim" in shunt("list").stdout
    wrong = shunt("add", "status", "staus=503")
    assert wrong.returncode == 2 and "did you mean `status`" in wrong.stderr
    assert shunt("clear", "77").returncode == 1
    assert "1 cleared" in shunt("clear").stdout and f.list() == []
    assert "SIGSTOP" in shunt("kinds").stdout


# ---- processes

@pytest.mark.parametrize("kind,cause", [
    ("kill", "SIGKILL"), ("abort", "SIGABRT"), ("segfault", "SIGSEGV")])
def test_a_process_fault_is_survived(faulty, kind, cause):
    f = faulty()
    old = f.d.workers("backend")[0]
    f.add(f"{kind} worker=backend count=2")
    assert f.d.wait_log(rf"worker_died .*cause=\S*{cause}")
    f.d.wait_worker(old)
    ready(f, "s")
    assert f.chat("s").status_code == 200
    assert f.injected() == {kind: 2}


def test_a_fault_that_kills_who_would_confirm_it_is_confirmed(faulty):
    """The profiler keeps the faults; what it set stands on the board whether it lives to say so."""
    f = faulty(restart={"delay_ms": 1, "delay_max_ms": 20})
    ids = [f.add("kill worker=profiler") for _ in range(8)]
    assert len(set(ids)) == 8, ids
    until("each came once", lambda: f.injected() == {"kill": 8})


def test_a_stopped_worker_goes_on_by_itself(faulty):
    f = faulty()
    pids = {w.pid for w in f.d.workers()}
    f.add("stop worker=sim time=400ms")
    f.d.wait_log("fault_injected .*kind=stop")
    assert f.chat("s", text="again").status_code in (200, 504)
    until("all workers run again", lambda: all(
        Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T" for p in pids), 5)
    assert {w.pid for w in f.d.workers()} == pids, "a stop of 0.4 s cost a worker its life"
    ready(f, "s")
    assert f.chat("s").status_code == 200


def test_starts_that_fail_and_starts_that_take_long(faulty):
    f = faulty()
    first = next(w for w in f.d.status()["workers"] if w["name"] == "sim")
    f.add("exit_early worker=sim count=2")
    f.add("slow_start worker=sim time=200ms")
    f.add("kill worker=sim")
    until("sim lives for the fourth time", lambda: any(
        w["name"] == "sim" and w["state"] == "ready" and w["generation"] == first["generation"] + 3
        for w in f.d.status()["workers"]), 10)
    assert f.injected() == {"exit_early": 2, "slow_start": 1, "kill": 1}
    ready(f, "s")
    assert f.chat("s").status_code == 200


def test_a_crash_loop_ends(faulty):
    f = faulty(restart={"delay_ms": 1, "delay_max_ms": 50})
    others = {w["name"]: w["pid"] for w in f.d.status()["workers"] if w["name"] != "sim"}
    f.add("crash_loop worker=sim count=3")
    until("three lives ended", lambda: f.injected().get("crash_loop") == 3, 10)
    until("sim is ready", lambda: any(w["name"] == "sim" and w["state"] == "ready"
                                      for w in f.d.status()["workers"]), 10)
    ready(f, "s")
    assert f.chat("s").status_code == 200
    assert {w["name"]: w["pid"] for w in f.d.status()["workers"] if w["name"] != "sim"} == others


@pytest.mark.plain_only
def test_limits_come_and_go(faulty):
    f = faulty()
    pid = next(w["pid"] for w in f.d.status()["workers"] if w["name"] == "sim")

    def soft(name):
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        return next(line for line in lines if line.startswith(name))[26:].split()[0]
    before = {n: soft(n) for n in ("Max open files", "Max address space", "Max file size")}
    f.add("fd_limit worker=sim files=20")
    f.add("memory_limit worker=sim bytes=900000000")
    f.add("disk_full worker=sim")
    until("the limits are set", lambda: (soft("Max open files"), soft("Max address space"),
                                         soft("Max file size")) == ("20", "900000000", "0"), 5)
    assert f.chat("s").status_code == 200, "without disk and with few descriptors it still serves"
    f.clear()
    until("the limits are lifted", lambda: {n: soft(n) for n in before} == before, 5)
    assert f.chat("s").status_code == 200


def test_a_limit_of_a_dead_worker_is_not_lifted_from_the_supervisor(faulty):
    f = faulty(restart={"delay_ms": "60s", "delay_max_ms": "60s"})
    pid = {w["name"]: w["pid"] for w in f.d.status()["workers"]}

    def files(who, *new):
        return resource.prlimit(who, resource.RLIMIT_NOFILE, *new)
    before = files(pid["up"])
    f.add("fd_limit worker=backend files=64")
    until("both are limited", lambda: {files(pid[n])[0] for n in ("up", "sim")} == {64}, 5)
    os.kill(pid["sim"], signal.SIGKILL)
    f.d.wait_log(r"worker_restarting .*name=sim\b")
    # not what a worker has, so that a worker's limit on it would show
    own = (before[0] - 1, before[1])
    files(f.d.pid, own)
    assert f.clear() == 1
    until("the limit of the other is lifted", lambda: files(pid["up"]) == before, 5)
    # a later round of the supervisor
    f.add("fd_limit worker=up files=65")
    until("it is limited again", lambda: files(pid["up"])[0] == 65, 5)
    assert files(f.d.pid) == own
    assert not any(w["name"] == "sim" and w["state"] == "ready" for w in f.d.status()["workers"])


def test_the_wall_clock_jumps_and_comes_back(faulty):
    f = faulty()
    now = f.chat("s").json()["created"]
    f.add("clock_jump worker=sim by=-2h for=1m")
    f.d.wait_log("fault_clock by_ms=-7200000")
    assert abs(f.chat("s").json()["created"] - (now - 7200)) < 60
    f.clear()
    f.d.wait_log("fault_clock by_ms=0")
    assert abs(f.chat("s").json()["created"] - now) < 60


def test_the_daemon_stops_in_order_while_faults_hold_its_workers(faulty):
    f = faulty()
    f.add("stop worker=backend time=10m")
    f.d.wait_log("fault_injected .*kind=stop")
    begun = time.monotonic()
    f.d.stop()
    assert time.monotonic() - begun < 20 * SLOW


# ---- bus

@pytest.mark.parametrize("spec", [
    "bus_drop message=ChatStart", "bus_drop message=ChatDelta", "bus_drop message=ChatEnd",
    "bus_duplicate", "bus_delay time=50ms spread=20ms", "bus_corrupt", "bus_corrupt message=ChatDelta",
])
def test_a_broken_bus_ends_in_one_answer_or_one_clear_error_in_time(faulty, spec):
    f = faulty(limits={"request_ms": "2s"})
    f.add(f"{spec} every=2 seed=5")
    for i in range(4):
        begun = time.monotonic()
        r = f.chat("auto", stream=bool(i % 2), text=f"number {i}")
        assert time.monotonic() - begun < 20 * SLOW, spec
        if i % 2 == 0 or r.status_code != 200:
            body = r.json()
            assert ("choices" in body) != ("error" in body), (spec, r.text)
        else:
            ends = [e for e in events_of(r) if e == "[DONE]" or "error" in json.loads(e)]
            assert len(ends) == 1 and events_of(r)[-1] == ends[0], (spec, r.text)
    f.clear()
    until("the bus is whole again", lambda: f.chat("auto").status_code == 200, 10)
    assert f.list() == []


def test_the_shipped_example_is_good():
    done = subprocess.run([BUILD / "shunt", "check", "config/faults.yaml"], cwd=ROOT,
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
