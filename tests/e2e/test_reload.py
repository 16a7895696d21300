# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: only what changed is replaced, what runs finishes, a bad config changes nothing."""
import contextlib
import json
import os
import signal
import subprocess
import threading

import pytest
from harness.daemon import model, openai, sim
from harness.http import Raw, chat_bytes, simple_chat
from harness.paths import BUILD
from harness.ports import free_port
from harness.upstream import answer, chunk, fail
from harness.wait import until


def pids(d):
    return {w.pid for w in d.workers()}


def reloaded(d, before):
    d.wait_log("reload_done", after=before)


def test_an_unchanged_config_keeps_every_pid(daemon):
    d = daemon()
    before, old = len(d.log()), pids(d)
    d.reload()
    reloaded(d, before)
    assert d.chat().status_code == 200
    assert pids(d) == old


def test_a_new_route_needs_no_new_process(daemon):
    d = daemon({"backends": [sim("s", models=["small"])]})
    old = pids(d)
    d.reload(routes=[{"name": "fresh", "models": ["small"]}])
    until("the route is served", lambda: "fresh" in d.models())
    assert d.chat("fresh").status_code == 200
    assert pids(d) == old


def test_a_new_backend_starts_and_an_old_one_goes(daemon):
    d = daemon({"backends": [sim("one", models=["m1"]), sim("two", models=["m2"])]})
    status = {w["name"]: w["pid"] for w in d.status()["workers"]}
    d.reload(backends=[sim("one", models=["m1"]), sim("three", models=["m3"])])
    until("the new model is served and the old one is gone",
          lambda: "m3" in d.models() and "m2" not in d.models())
    until("m3 answers", lambda: d.chat("m3").status_code == 200)
    assert d.chat("m2").status_code == 404
    now = {w["name"]: w["pid"] for w in d.status()["workers"]}
    assert now["one"] == status["one"], "an unaffected backend was restarted"
    until("the old worker is gone",
          lambda: "two" not in {w["name"] for w in d.status()["workers"]})


@contextlib.contextmanager
def chats(d, name):
    """Chats with the model one after the other, from here to the end of the block; their statuses."""
    stop, statuses = threading.Event(), []

    def load():
        while not stop.is_set():
            statuses.append(d.chat(name).status_code)
    thread = threading.Thread(target=load)
    thread.start()
    try:
        until("requests flow", lambda: len(statuses) > 5)
        yield statuses
    finally:
        stop.set()
        thread.join()


def test_a_changed_backend_is_replaced_and_no_request_fails(daemon, upstream):
    a, b = upstream(models=["m"]), upstream(models=["m"])
    d = daemon({"backends": [openai("up", a.url)], "models": [model("m", "up")]})
    with chats(d, "m") as statuses:
        d.reload(backends=[openai("up", b.url)])
        until("the new upstream is used", lambda: len(b.chats()) > 5)
    assert set(statuses) == {200}, statuses


def serving_only(name):
    """Script: this model, whole; any other is not known here."""
    unknown = fail(404, "invalid_request_error", "no such model", code="model_not_found")
    return lambda x: (answer() if x.request.json()["model"] == name else unknown)(x)


def test_another_server_that_calls_the_model_otherwise(daemon, upstream):
    """The old worker still asks the old server, by the old name; both before and after both
    gateways have read the new config."""
    a = upstream(models=["old"], chat=serving_only("old"))
    b = upstream(models=["new"], chat=serving_only("new"))
    d = daemon({"backends": [openai("up", a.url)], "models": [model("m", "up", upstream="old")],
                "gateways": 2})
    with chats(d, "m") as statuses:
        before = len(d.log())
        subprocess.run([BUILD / "shunt", "fault", "add", "slow_start", "worker=up", "time=1s"],
                       env={**os.environ, "SHUNT_SOCKET": d.socket_path}, check=True, timeout=20)
        d.reload(backends=[openai("up", b.url)], models=[model("m", "up", upstream="new")])
        d.wait_log("reload_done", after=before)
        asked = len(a.chats())
        until("the old worker serves under the new config", lambda: len(a.chats()) > asked + 5)
        until("the new upstream is used", lambda: len(b.chats()) > 5)
    assert set(statuses) == {200}


def test_a_running_stream_survives_the_replacement_of_its_backend(daemon, upstream):
    go, first = threading.Event(), threading.Lock()

    def script(x):
        # Until the new worker is ready, chats still come here; only the stream waits.
        if not first.acquire(blocking=False):
            return answer()(x)
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "first"}))
        go.wait(20)
        x.event(chunk({"content": "last"}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    a, b = upstream(chat=script), upstream()
    d = daemon({"backends": [openai("up", a.url)], "models": [model("m", "up")]})
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("m", stream=True)))
        assert raw.read_head()[0] == 200
        raw.read_chunk()
        d.reload(backends=[openai("up", b.url)])
        until("the new upstream is used", lambda: d.chat("m").status_code == 200 and b.chats())
        go.set()
        rest = b"".join(iter(raw.read_chunk, b""))
    assert b"last" in rest and rest.endswith(b"data: [DONE]\n\n"), d.log()[-5000:]


@pytest.mark.parametrize("text", ["backends: [", "gateways: lots\n", "no_such_key: 1\n", ""])
def test_a_bad_config_is_refused_and_the_old_one_stays(daemon, text):
    d = daemon({"backends": [sim("s", models=["small"])]})
    d.allow("config|reload")
    old, before = pids(d), len(d.log())
    d.write_config(text)
    d.signal(signal.SIGHUP)
    d.wait_log(r"config_fault at=\S*shunt\.yaml", after=before)
    d.wait_log("reload_refused", after=before)
    assert d.chat("small").status_code == 200
    assert pids(d) == old
    # And a good one is taken afterwards.
    d.reload(routes=[{"name": "later", "models": ["small"]}])
    until("the good config is in force", lambda: "later" in d.models())


def test_a_config_that_vanished_is_refused(daemon):
    d = daemon()
    d.allow("config|reload")
    before = len(d.log())
    d.config_path.unlink()
    d.signal(signal.SIGHUP)
    d.wait_log(r"reload_refused .*shunt\.yaml", after=before)
    assert d.chat().status_code == 200


def test_more_and_fewer_gateways(daemon):
    d = daemon({"backends": [sim()], "gateways": 1})
    d.reload(gateways=3)
    until("three gateways", lambda: len(d.workers("gateway")) == 3)
    assert d.chat().status_code == 200
    d.reload(gateways=1)
    until("one gateway", lambda: len(d.workers("gateway")) == 1)
    assert d.chat().status_code == 200


def test_a_new_address(daemon):
    d = daemon()
    port = free_port()
    d.reload(listen=[f"127.0.0.1:{port}"])
    d.port = port
    until("the new address serves", lambda: serves(d))


def serves(d):
    import httpx
    try:
        return d.chat().status_code == 200
    except httpx.HTTPError:
        return False


def test_twenty_reloads_in_a_row_leak_nothing(daemon):
    from harness import procs
    d = daemon()
    d.reload(gateways=2)
    until("two gateways", lambda: len(d.workers("gateway")) == 2)
    before = len(procs.fds(d.pid))
    for i in range(20):
        d.reload(gateways=1 + i % 2)
        want = 1 + i % 2
        until("as many gateways as wanted", lambda: len(d.workers("gateway")) == want)
    until("as many descriptors as before", lambda: len(procs.fds(d.pid)) <= before)


def test_a_request_that_the_draining_backend_refuses_goes_to_its_successor(daemon):
    slow = {"tokens_per_s": 20, "tokens": 100}
    d = daemon({"backends": [sim("s", models=["m"], **slow)], "heartbeat_ms": 60000})
    old = d.workers("backend")[0]
    with Raw(d) as running, Raw(d) as late:
        running.send(chat_bytes(simple_chat("m", stream=True)))
        assert running.read_head()[0] == 200
        # Sent while the old one was good, read by it when it is told to go.
        os.kill(old.pid, signal.SIGSTOP)
        late.send(chat_bytes(simple_chat("m")))
        until("it is under way", lambda: "shunt_attempts_total{" in d.get("/metrics").text
              and 'shunt_attempts_total{role="gateway",worker="gateway-0"} 2'
              in d.get("/metrics").text)
        before = len(d.log())
        d.reload(backends=[sim("s", models=["m"])])
        d.wait_log(rf"worker_draining .*pid={old.pid}", after=before)
        os.kill(old.pid, signal.SIGCONT)
        status, _, body = late.response()
        assert status == 200, body  # by the successor, or by the old one if it read this first
        assert running.read_chunk(), "what ran there was cut"


def test_calls_of_a_simulated_backend_that_is_taken_out_end_whole(daemon):
    """Its worker has no row in the config any more, and goes on with what the row said."""
    slow = sim("slow", models=["m"], tokens_per_s=40, tokens=60)
    d = daemon({"backends": [sim("one"), slow]})
    old = {w["name"]: w["pid"] for w in d.status()["workers"]}
    with Raw(d) as stream, Raw(d) as whole:
        stream.send(chat_bytes(simple_chat("m", stream=True)))
        whole.send(chat_bytes(simple_chat("m")))
        assert stream.read_head()[0] == 200
        begun = stream.read_chunk()
        until("both are under way", lambda: [
            b["in_flight"] for b in d.status()["backends"] if b["name"] == "slow"] == [2])
        before = len(d.log())
        d.reload(backends=[sim("one")])
        d.wait_log(rf"worker_draining .*pid={old['slow']}", after=before)
        text = begun + b"".join(iter(stream.read_chunk, b""))
        status, _, body = whole.response()
    events = [line[6:] for line in text.decode().splitlines() if line.startswith("data: ")]
    choices = [c for e in events[:-1] for c in json.loads(e)["choices"]]
    assert events[-1] == "[DONE]", events[-1]
    assert sum(bool(c["delta"].get("content")) for c in choices) == 60
    assert choices[-1]["finish_reason"]
    assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 60
    until("the old worker is gone", lambda: old["slow"] not in pids(d))
    assert not d.events("worker_died"), d.events("worker_died")
    assert pids(d) == set(old.values()) - {old["slow"]}


@pytest.mark.plain_only
def test_another_log_format_is_everybodys(daemon):
    d = daemon()
    d.allow("^{")
    before = len(d.log())
    d.reload(log={"level": "debug", "format": "json"})

    def told():
        assert d.chat().status_code == 200
        lines = [x for x in d.log()[before:].splitlines() if "request_done" in x]
        return lines and lines[-1].startswith("{") and json.loads(lines[-1])["who"] == "gateway-0"
    until("a gateway writes JSON", told, 5)


def test_a_shorter_heartbeat_kills_nobody(daemon):
    """Shorter than the beats were apart until then. One time of some must do, as a busy machine
    may make a worker wait for so long."""
    d = daemon({"backends": [sim("a"), sim("b")],
                "restart": {"delay_ms": 10, "delay_max_ms": 100}})

    def all_kept():
        before = len(d.log())
        d.reload(heartbeat_ms=60000)
        reloaded(d, before)
        d.wait_ready()
        victim, before = d.workers("backend")[0], len(d.log())
        others = pids(d) - {victim.pid}
        d.reload(heartbeat_ms=150)
        reloaded(d, before)
        # By the time that this one is found silent, the others have been looked at as long.
        os.kill(victim.pid, signal.SIGSTOP)
        d.wait_log(rf"worker_hung .*pid={victim.pid} heartbeat_ms=150", after=before)
        return others <= pids(d) and d.log()[before:].count(" worker_hung ") == 1
    assert any(all_kept() for _ in range(5))


def test_an_address_that_the_daemon_itself_holds_is_told_as_that(daemon):
    d = daemon()
    d.allow("reload")
    d.reload(listen=[f"0.0.0.0:{d.port}"])
    d.wait_log(rf"reload_refused .*only a restart can change the address of 127\.0\.0\.1:{d.port}\b")
    assert d.chat().status_code == 200
