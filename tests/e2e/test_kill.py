# SPDX-License-Identifier: Apache-2.0
"""Killing, stopping and crashing every role under load. SHUNT_KILLS sets how often (60).

Invariants: no connection is refused; every request ends in one answer or one clear error before its
deadline; requests on other workers are untouched (only the connections of a killed gateway see a
reset); every role is back; no process, descriptor or file is left; every answer has exactly one
record in the journal.
"""
import itertools
import json
import os
import random
import re
import signal
import statistics
import threading
import time
from collections import Counter

import pytest
from harness import procs
from harness.daemon import model, openai, sim
from harness.journal import ids
from harness.http import Raw, chat_bytes, simple_chat
from harness.paths import SLOW
from harness.upstream import answer, chunk
from harness.wait import until

KILLS = int(os.environ.get("SHUNT_KILLS", "60"))
DEADLINE_S = 6.0
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
ROLES = ("gateway", "backend", "backend", "profiler", "recorder")


class Load:
    """Clients in threads, each one request after another; keeps one verdict per request."""

    def __init__(self, daemon, clients=4):
        self.daemon = daemon
        self.verdicts = Counter()
        self.bad = []
        self.answered = []  # request ids
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        for t in self.threads:
            t.join(timeout=30 * SLOW)
        assert not any(t.is_alive() for t in self.threads), "a client hangs"

    def run(self, number):
        for i in itertools.count():
            if self.stop.is_set():
                return
            begun = time.monotonic()
            stream = (i + number) % 2 == 0
            try:
                verdict = self.one(stream)
            except ConnectionRefusedError:
                verdict = "refused"
            except (ConnectionResetError, BrokenPipeError):
                verdict = "reset"
            except TimeoutError:
                verdict = "no answer"
            except AssertionError as e:
                # Closed within an answer: the gateway that held it was killed.
                verdict = "reset" if "closed" in str(e) else f"malformed: {e}"
            seconds = time.monotonic() - begun
            if seconds > DEADLINE_S * SLOW:
                verdict = f"late ({verdict})"
            self.verdicts[verdict] += 1
            if verdict not in ("answered", "clear error", "error event", "reset"):
                self.bad.append((round(seconds, 2), verdict))

    def one(self, stream):
        with Raw(self.daemon, seconds=DEADLINE_S * 2) as raw:
            raw.send(chat_bytes(simple_chat("auto", "Say something.", stream=stream)))
            status, headers, body = raw.response()
        if "x-shunt-request-id" in headers:
            self.answered.append(headers["x-shunt-request-id"])
        if status != 200:
            error = json.loads(body)["error"]
            return "clear error" if error["message"] and error["code"] else "unclear error"
        if not stream:
            return "answered" if json.loads(body)["choices"] else "unclear answer"
        events = [e[6:] for e in body.decode().split("\n\n") if e.startswith("data: ")]
        if any('"error"' in e for e in events):
            return "error event"
        if events.count("[DONE]") != 1 or events[-1] != "[DONE]":
            return "stream without end"
        finishes = sum('"finish_reason":"' in e or '"finish_reason": "' in e for e in events)
        return "answered" if finishes == 1 else f"{finishes} finish reasons"


def config():
    return {
        "gateways": 2, "heartbeat_ms": 700,
        "backends": [sim("one", models=["m1"], ttft_ms=2, tokens_per_s=2000, tokens=20),
                     sim("two", models=["m2"], ttft_ms=2, tokens_per_s=2000, tokens=20)],
        "routes": [{"name": "auto", "models": ["m1", "m2"], "strategy": "round_robin",
                    "first_byte_ms": 1500, "request_ms": 5000}],
        "restart": {"delay_ms": 5, "delay_max_ms": 50, "healthy_ms": 50},
    }


def report(name, text):
    """Figures go to the log of the run; they are reported, not asserted."""
    print(f"{name}: {text}")


def strike(d, rng, number):
    """Hit one worker; (role, signal, seconds until its slot is served again)."""
    role = ROLES[number % len(ROLES)]
    target = until(f"a {role} runs", lambda: d.workers(role))
    victim = rng.choice(target)
    how = SIGNALS[(number // len(ROLES)) % len(SIGNALS)]
    logged = d.log_path.stat().st_size
    try:
        os.kill(victim.pid, how)
    except ProcessLookupError:
        return None
    begun = time.monotonic()
    new = d.wait_worker(victim, 10)
    until("it is ready", lambda: ready(d, new, logged), 10)
    return role, how, time.monotonic() - begun


def ready(d, worker, logged):
    """Its readiness byte was read: the log says so, or the slot has moved on."""
    with open(d.log_path, "rb") as f:
        f.seek(logged)
        log = f.read().decode()
    return bool(re.search(rf" worker_ready .*\bpid={worker.pid}\b", log)) or \
        not procs.stat(worker.pid)


def journal_is_whole(d, answered):
    """Every answer that a client saw has a record, and no record is there twice."""
    seen = until("all records are written", lambda: (lambda n: n if not set(answered) - set(n)
                                                     else None)(ids(d)), 30)
    twice = [i for i, n in seen.items() if n != 1]
    assert not twice, f"{len(twice)} records twice, e.g. {twice[:3]}"
    return len(seen)


@pytest.mark.timeout(120 + 2 * KILLS)
def test_kill_every_role_under_load(daemon):
    d = daemon(config())
    d.allow(".*")
    rng = random.Random(7)
    before = len(procs.fds(d.pid))
    times = {}
    with Load(d) as load:
        until("requests are answered", lambda: load.verdicts["answered"] > 20)
        for number in range(KILLS):
            hit = strike(d, rng, number)
            if hit:
                times.setdefault(hit[1].name, []).append(hit[2])
            assert not load.bad, load.bad[:10]
        answered = load.verdicts["answered"]
        until("requests are answered after the last kill",
              lambda: load.verdicts["answered"] > answered + 20)
    for name, seconds in times.items():
        report("restart", f"{name} median {statistics.median(seconds) * 1000:.0f} ms, "
               f"worst {max(seconds) * 1000:.0f} ms of {len(seconds)}")
    report("load", dict(load.verdicts))
    assert not load.bad, load.bad[:20]
    assert load.verdicts["answered"] > KILLS
    # A reset may only come from a killed gateway: one per client and gateway death at most.
    gateway_deaths = KILLS // len(ROLES) + 1
    assert load.verdicts["reset"] <= 4 * gateway_deaths, load.verdicts
    until("every slot is served", lambda: len(d.workers("gateway")) == 2
          and len(d.workers("backend")) == 2 and len(d.workers("profiler")) == 1)
    until("no descriptor is left", lambda: len(procs.fds(d.pid)) <= before)
    report("journal", f"{journal_is_whole(d, load.answered)} records of "
           f"{len(load.answered)} answers")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_kill_of_one_backend_does_not_touch_requests_on_the_other(daemon, how):
    d = daemon({**config(), "backends": [
        sim("victim", models=["m1"], tokens_per_s=200, tokens=600),
        sim("other", models=["m2"], tokens_per_s=200, tokens=600)], "gateways": 1})
    d.allow(".*")
    names = {w["name"]: w["pid"] for w in d.status()["workers"]}
    results = []

    def run():
        results.append(d.stream("m2"))
    threads = [threading.Thread(target=run) for _ in range(6)]
    for t in threads:
        t.start()
    until("they are upstream", lambda: in_flight(d) >= 6)
    os.kill(names["victim"], how)
    for t in threads:
        t.join(timeout=20 * SLOW)
    assert len(results) == 6
    for r, events in results:
        assert r.status_code == 200 and events[-1] == "[DONE]"
        assert not any('"error"' in e for e in events)


def in_flight(d):
    return sum(float(line.rsplit(" ", 1)[1]) for line in d.get("/metrics").text.splitlines()
               if line.startswith("shunt_upstream_in_flight"))


def test_kill_of_a_backend_before_its_first_byte_moves_to_the_next_at_once(daemon):
    d = daemon({**config(), "gateways": 1, "heartbeat_ms": 60000, "backends": [
        sim("sleepy", models=["m1"], ttft_ms=60000), sim("awake", models=["m2"])],
        "models": [{"name": "m1", "quality": 0.9, "deployments": [{"backend": "sleepy"}]},
                   {"name": "m2", "quality": 0.1, "deployments": [{"backend": "awake"}]}],
        "routes": [{"name": "auto", "models": ["m1", "m2"], "dial": 1.0}]})
    d.allow(".*")
    names = {w["name"]: w["pid"] for w in d.status()["workers"]}
    done = []
    thread = threading.Thread(target=lambda: done.append(d.chat("auto")))
    thread.start()
    until("it waits at the sleepy one", lambda: in_flight(d) >= 1)
    begun = time.monotonic()
    os.kill(names["sleepy"], signal.SIGKILL)
    thread.join(timeout=20 * SLOW)
    assert done and done[0].status_code == 200, done
    assert done[0].headers["x-shunt-backend"] == "awake"
    assert time.monotonic() - begun < 20 * SLOW, "it waited for a timeout"


def test_kill_of_a_backend_in_mid_stream_ends_with_an_error_event(daemon):
    d = daemon({**config(), "gateways": 1, "backends": [
        sim("slow", models=["m1"], tokens_per_s=20, tokens=2000)],
        "routes": [{"name": "auto", "models": ["m1"]}]})
    d.allow(".*")
    with Raw(d, seconds=20) as raw:
        raw.send(chat_bytes(simple_chat("m1", stream=True)))
        assert raw.read_head()[0] == 200
        raw.read_chunk()
        begun = time.monotonic()
        os.kill(d.workers("backend")[0].pid, signal.SIGKILL)
        rest = b"".join(iter(raw.read_chunk, b""))
    assert b'"error"' in rest and b"worker_died" in rest
    assert time.monotonic() - begun < 20 * SLOW


def test_where_all_backends_stand_still_the_error_is_clear(daemon):
    d = daemon({**config(), "gateways": 1, "heartbeat_ms": 60000})
    d.allow(".*")
    for w in d.workers("backend"):
        os.kill(w.pid, signal.SIGSTOP)
    r = d.chat("auto")
    assert r.status_code >= 500 and r.json()["error"]["message"]
    for w in d.workers("backend"):
        os.kill(w.pid, signal.SIGCONT)
    until("it answers again", lambda: d.chat("auto").status_code == 200)


def test_kill_of_a_gateway_refuses_no_connection(daemon):
    d = daemon({**config(), "gateways": 1})
    d.allow(".*")
    for _ in range(5):
        victim = d.workers("gateway")[0]
        os.kill(victim.pid, signal.SIGKILL)
        # At once: the socket is the supervisor's, so the connection waits for the next life.
        with Raw(d, seconds=10) as raw:
            raw.send(chat_bytes(simple_chat("auto")))
            assert raw.response()[0] == 200
        d.wait_worker(victim)


def test_a_request_waits_out_the_restart_delay_of_its_only_backend(daemon):
    d = daemon({**config(), "gateways": 1, "backends": [sim("only", models=["m1"])],
                "routes": [{"name": "auto", "models": ["m1"]}],
                "restart": {"delay_ms": 1500, "delay_max_ms": 1500, "healthy_ms": 50}})
    d.allow(".*")
    os.kill(d.workers("backend")[0].pid, signal.SIGKILL)
    until("it waits to be started again", lambda: [
        w for w in d.status()["workers"] if (w["role"], w["state"]) == ("backend", "backoff")])
    r = d.chat("auto")
    assert r.status_code == 200, r.text


STOPPED = {
    "a whole answer": (False, lambda x: x.hang(), {}),
    "a stream before its first piece": (True, lambda x: x.hang(), {}),
    "a stream after its first piece": (True, lambda x: (
        x.begin_stream(), x.event(chunk({"role": "assistant", "content": "a "})), x.hang()), {}),
    "two at once": (False, lambda x: x.hang(), {"hedge_ms": 50}),
}


@pytest.mark.parametrize("what", STOPPED)
def test_a_stopped_backend_leaves_the_next_one_its_time(daemon, upstream, what):
    """The whole has less time than a hop and the time in which a live backend reports its end: the
    last candidate answers only where the hops before it ended at their deadlines."""
    stream, script, route = STOPPED[what]
    names = ["a", "b"] if "hedge_ms" in route else ["a"]
    ups = {n: upstream(models=[n], chat=script) for n in names}
    ups["last"] = upstream(models=["last"], chat=answer("lastly"))
    d = daemon({
        "gateways": 1, "heartbeat_ms": 60000, "breaker": {"enabled": False},
        "backends": [openai(n, u.url, stall_ms=900, probe_ms=60000) for n, u in ups.items()],
        "models": [model(n, n, quality=0.9 - 0.1 * i) for i, n in enumerate(ups)],
        "routes": [{"name": "auto", "models": list(ups), "strategy": "quality_first", "dial": 1.0,
                    "first_byte_ms": 900, "request_ms": 1050, "mid_stream": "restart", **route}]})
    pids = {w["name"]: w["pid"] for w in d.status()["workers"]}

    def attempt():
        """One request, whose backends stand still from when its upstreams have it."""
        calls = {n: len(ups[n].chats()) for n in names}
        done = []
        thread = threading.Thread(target=lambda: done.append(
            d.stream("auto") if stream else (d.chat("auto"), [])))
        thread.start()
        until("they are upstream", lambda: done or all(
            len(ups[n].chats()) > calls[n] for n in names))
        for n in names:
            os.kill(pids[n], signal.SIGSTOP)
        thread.join(timeout=30 * SLOW)
        for n in names:
            os.kill(pids[n], signal.SIGCONT)
        r, events = done[0]
        return (r.status_code == 200 and "lastly" in (" ".join(events) if stream else r.text)
                and all(len(ups[n].chats()) > calls[n] for n in names))
    until("the last one answers", attempt, 20)


def test_stop_of_a_backend_amid_a_long_whole_answer_is_noticed(daemon, upstream):
    """Its upstream has begun to answer, so its hop deadline went by."""
    first = upstream(models=["a"], chat=lambda x: (
        x.head(200, [("Content-Length", 500)]), x.send(b'{"id"'), x.hang()))
    last = upstream(models=["last"], chat=answer("lastly"))
    d = daemon({
        "gateways": 1, "heartbeat_ms": 60000,
        "backends": [openai("a", first.url, probe_ms=60000), openai("last", last.url)],
        "models": [model("a", "a", quality=0.9), model("last", "last", quality=0.1)],
        "routes": [{"name": "auto", "models": ["a", "last"], "strategy": "quality_first",
                    "dial": 1.0, "first_byte_ms": int(1000 * SLOW)}]})
    done = []
    thread = threading.Thread(target=lambda: done.append(d.chat("auto")))
    thread.start()
    until("it is upstream", first.chats)
    begun = time.monotonic()
    until("three deadlines went by", lambda: time.monotonic() > begun + 3 * SLOW)
    assert not done and not last.chats()
    pid = next(w["pid"] for w in d.status()["workers"] if w["name"] == "a")
    os.kill(pid, signal.SIGSTOP)
    thread.join(timeout=20 * SLOW)
    os.kill(pid, signal.SIGCONT)
    assert done and done[0].status_code == 200 and "lastly" in done[0].text


def cpu_ticks(pid):
    fields = procs.read(pid, "stat").decode().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def idles(pid):
    before = cpu_ticks(pid)
    time.sleep(0.2)
    return cpu_ticks(pid) - before <= 1


def test_a_gateway_that_was_held_up_loses_no_answer(daemon):
    """More messages wait for it than any queue of fixed length would take."""
    d = daemon({"gateways": 1, "heartbeat_ms": 60000, "limits": {"request_ms": 60000},
                "backends": [sim("s", models=["m"], tokens_per_s=3000, tokens=2500)]})
    streams = [Raw(d, seconds=30) for _ in range(30)]
    wholes = [Raw(d, seconds=30) for _ in range(5)]
    for raw in streams:
        raw.send(chat_bytes(simple_chat("m", stream=True)))
    for raw in wholes:
        raw.send(chat_bytes(simple_chat("m")))
    for raw in streams:
        assert raw.read_head()[0] == 200
    until("all are upstream", lambda: in_flight(d) == len(streams) + len(wholes))
    gateway = d.workers("gateway")[0].pid
    os.kill(gateway, signal.SIGSTOP)
    until("the backend has used up all credit", lambda: idles(d.workers("backend")[0].pid), 30)
    os.kill(gateway, signal.SIGCONT)
    for raw in wholes:
        assert raw.response()[0] == 200
    for raw in streams:
        data = b"".join(iter(raw.read_chunk, b""))
        assert b'"error"' not in data and data.endswith(b"data: [DONE]\n\n"), data[-300:]
    unsent = [line for line in d.get("/metrics").text.splitlines()
              if line.startswith("shunt_messages_unsent_total{") and not line.endswith(" 0")]
    assert not unsent
    for raw in streams + wholes:
        raw.socket.close()
