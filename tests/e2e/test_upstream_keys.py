# SPDX-License-Identifier: Apache-2.0
"""The key of an upstream: rotated while it is used, missing, open to everybody."""
import os
import signal
import subprocess

import pytest
from harness.daemon import model, openai, sim
from harness.paths import BUILD
from harness.wait import until


def key_of(request):
    return (request.header("authorization") or "").removeprefix("Bearer ")


def write(path, key, mode=0o600):
    path.write_text(key + "\n")
    path.chmod(mode)
    return path


def start(daemon, upstream, tmp_path):
    path = write(tmp_path / "key", "first-key")
    u, other = upstream(), upstream(models=["o"])
    d = daemon({"backends": [openai("up", u.url, key_file=str(path)), openai("other", other.url)],
                "models": [model("m", "up"), model("o", "other")]})
    return d, u, path


def last_key(d, u):
    r = d.chat("m")
    assert r.status_code == 200, f"{r.text}\n{d.log()[-3000:]}"
    return key_of(u.chats()[-1])


def rotated(d, u, key):
    until(f"{key} is used", lambda: last_key(d, u) == key)


def test_rewritten_in_place(daemon, upstream, tmp_path):
    d, u, path = start(daemon, upstream, tmp_path)
    assert last_key(d, u) == "first-key"
    before = d.workers()
    path.write_text("second-key\n")
    d.signal(signal.SIGHUP)
    rotated(d, u, "second-key")
    assert [w for w in d.workers() if w.role != "backend"] == \
        [w for w in before if w.role != "backend"], "an unaffected worker was replaced"
    assert len(set(d.workers()) & set(before)) >= len(before) - 1


def test_replaced_by_rename(daemon, upstream, tmp_path):
    d, u, path = start(daemon, upstream, tmp_path)
    before = set(d.workers())
    for n in range(3):
        new = write(tmp_path / "new", f"key-number-{n}")
        os.replace(new, path)
        d.signal(signal.SIGHUP)
        rotated(d, u, f"key-number-{n}")
    assert len(set(d.workers()) & before) >= len(before) - 1
    assert not d.events("worker_died")


def test_no_request_fails_while_keys_turn(daemon, upstream, tmp_path):
    d, u, path = start(daemon, upstream, tmp_path)
    with d.client() as c:
        for n in range(60):
            if n % 20 == 10:
                write(path, f"key-number-{n}")
                d.signal(signal.SIGHUP)
            r = c.post("/v1/chat/completions", json={
                "model": "m", "messages": [{"role": "user", "content": "x"}]})
            assert r.status_code == 200, r.text
    rotated(d, u, "key-number-50")
    seen = [key_of(r) for r in u.chats()]
    assert seen == sorted(seen, key=lambda k: (k != "first-key", k)), "an old key came back"


@pytest.mark.parametrize("name", ["old", "new"], ids=["rewritten", "another file"])
def test_a_server_never_sees_the_key_of_its_successor(daemon, upstream, tmp_path, name):
    """Until the worker for the new server is there, the old one serves, with what is its own."""
    a, b = upstream(), upstream()
    old = write(tmp_path / "old", "old-key")
    d = daemon({"backends": [openai("up", a.url, key_file=str(old))],
                "models": [model("m", "up")]})
    assert last_key(d, a) == "old-key"
    subprocess.run([BUILD / "shunt", "fault", "add", "slow_start", "worker=up", "time=1s"],
                   env={**os.environ, "SHUNT_SOCKET": d.socket_path}, check=True, timeout=20)
    new, before = write(tmp_path / name, "new-key"), len(d.log())
    d.reload(backends=[openai("up", b.url, key_file=str(new))])
    d.wait_log("reload_done", after=before)
    d.wait_log("fault_injected .*kind=slow_start", after=before)
    until("the new server is asked", lambda: d.chat("m").status_code == 200 and b.chats())
    assert len(a.chats()) > 1, "the old worker was not asked after the reload"
    # its probes too
    assert {key_of(r) for r in a.requests} == {"old-key"}
    assert {key_of(r) for r in b.requests} == {"new-key"}


def test_a_key_file_that_vanishes_leaves_the_key_in_use(daemon, upstream, tmp_path):
    d, u, path = start(daemon, upstream, tmp_path)
    path.unlink()
    d.signal(signal.SIGHUP)
    d.wait_log(r"key.*No such file")
    assert last_key(d, u) == "first-key"
    write(path, "second-key")
    d.signal(signal.SIGHUP)
    rotated(d, u, "second-key")


def test_a_key_file_opened_to_all_leaves_the_key_in_use(daemon, upstream, tmp_path):
    d, u, path = start(daemon, upstream, tmp_path)
    write(path, "second-key", 0o644)
    d.signal(signal.SIGHUP)
    d.wait_log(r"key.*open to every user")
    assert last_key(d, u) == "first-key"
    path.chmod(0o600)
    d.signal(signal.SIGHUP)
    rotated(d, u, "second-key")


def bad_key(daemon, path, *words):
    """With a key that can't be used: a clear message, the daemon lives, the other one serves."""
    d = daemon({"backends": [openai("up", "http://127.0.0.1:9", key_file=str(path)), sim("s")],
                "models": [model("m", "up"), model("s", "s")],
                "restart": {"delay_ms": 50, "delay_max_ms": 200}})
    d.allow(r"role=backend|name=up|who=up| up |key file")
    for word in words:
        d.wait_log(word)
    assert d.chat("s").status_code == 200
    r = d.chat("m")
    assert r.status_code == 503, r.text
    state = {w["name"]: w for w in d.status()["workers"]}
    assert state["s"]["state"] == "ready" and state["up"]["state"] != "ready"
    assert d.chat("auto").headers["x-shunt-model"] == "s"
    return d


def test_a_missing_key_file(daemon, upstream, tmp_path):
    u, path = upstream(), tmp_path / "nothing"
    d = bad_key(daemon, path, "nothing: No such file")
    write(path, "late-key")
    d.reload(backends=[openai("up", u.url, key_file=str(path)), sim("s")])
    until("the backend comes up", lambda: d.chat("m").status_code == 200, 20)
    assert key_of(u.chats()[-1]) == "late-key"


def test_a_key_file_that_comes_later_needs_no_reload(daemon, upstream, tmp_path):
    u, path = upstream(), tmp_path / "nothing"
    d = daemon({"backends": [openai("up", u.url, key_file=str(path)), sim("s")],
                "models": [model("m", "up"), model("s", "s")],
                "restart": {"delay_ms": 50, "delay_max_ms": 200}})
    d.allow(r"key file| up ")
    d.wait_log("No such file")
    write(path, "late-key")
    until("the backend comes up", lambda: d.chat("m").status_code == 200, 20)


def test_a_key_file_open_to_everybody(daemon, tmp_path):
    bad_key(daemon, write(tmp_path / "key", "leaked", 0o644), "open to every user")


def test_an_empty_key_file(daemon, tmp_path):
    bad_key(daemon, write(tmp_path / "key", ""), "is empty")
