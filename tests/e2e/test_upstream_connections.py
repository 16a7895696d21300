# SPDX-License-Identifier: Apache-2.0
"""Connections to upstreams: closed while idle, over IPv6, with bodies as large as they may be."""
import base64
import hashlib
import os
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import procs
from harness.daemon import model, openai
from harness.ports import free_port
from harness.upstream import PeerGone, answer
from harness.wait import until

MIB = 1024 * 1024


def start(daemon, u, **more):
    return daemon({"backends": [openai("up", u.url, probe_ms=60000)],
                   "models": [model("m", "up", vision=True)], **more})


# ---- kept connections that the upstream closes


def test_closed_after_every_answer(daemon, upstream):
    def script(x):
        answer("fine")(x)  # says nothing of closing
        raise PeerGone
    u = upstream(chat=script)
    d = start(daemon, u)
    with d.client() as c:
        for _ in range(100):
            r = c.post("/v1/chat/completions", json={
                "model": "m", "messages": [{"role": "user", "content": "x"}]})
            assert r.status_code == 200, r.text
    assert len(u.chats()) == 100, "a request was asked twice"


def test_closed_after_every_stream(daemon, upstream):
    def script(x):
        answer("fine")(x)
        raise PeerGone
    u = upstream(chat=script)
    d = start(daemon, u)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: d.stream("m"), range(100)))
    assert all(r.status_code == 200 and e[-1] == "[DONE]" for r, e in answers)


def test_closed_just_when_the_next_request_comes(daemon, upstream):
    """The race of every idle timeout: the request is on its way when the connection closes."""
    lock, asked = threading.Lock(), Counter()

    def script(x):
        with lock:
            asked[x.request.connection] += 1
            again = asked[x.request.connection] > 1
        if again:
            raise PeerGone
        return answer("fine")(x)
    u = upstream(chat=script)
    d = start(daemon, u)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: d.chat("m"), range(60)))
    assert [r.status_code for r in answers] == [200] * 60
    assert max(asked.values()) > 1, "no connection was used again: nothing was tested"


def test_every_kept_connection_is_dead(daemon, upstream):
    """One request may find many kept connections, and all of them closed: it gets a new one."""
    together, lock, asked = threading.Barrier(12), threading.Lock(), Counter()

    def script(x):
        with lock:
            asked[x.request.connection] += 1
            again = asked[x.request.connection] > 1
        if again:
            raise PeerGone
        if x.request.json()["messages"][0]["content"] == "together":
            together.wait(10)
        return answer("fine")(x)
    u = upstream(chat=script)
    d = start(daemon, u)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: d.chat("m", "together"), range(12)))
    assert [r.status_code for r in answers] == [200] * 12
    r = d.chat("m", "alone")
    assert r.status_code == 200, r.text
    assert len(u.chats()) == 14, "more than one dead connection was tried"


def test_reset_while_idle(daemon, upstream):
    def script(x):
        answer("fine")(x)
        x.reset()
    u = upstream(chat=script)
    d = start(daemon, u)
    for _ in range(30):
        r = d.chat("m")
        assert r.status_code == 200, r.text


def test_a_large_body_is_sent_again_on_a_new_connection(daemon, upstream):
    """The body that a dead connection swallowed must arrive whole on the next one."""
    def script(x):
        answer("fine")(x)
        raise PeerGone
    u = upstream(chat=script)
    d = start(daemon, u)
    text = "word " * 400_000
    for _ in range(10):
        assert d.chat("m", text).status_code == 200
    assert all(r.json()["messages"][0]["content"] == text for r in u.chats())


def test_a_server_that_never_answers_is_not_asked_for_ever(daemon, upstream):
    def script(x):
        raise PeerGone
    u = upstream(chat=script)
    d = start(daemon, u)
    r = d.chat("m")
    assert r.status_code == 502 and r.json()["error"]["message"]
    assert len(u.chats()) <= 2


# ---- 32 MB


def pss_mb(d):
    return sum(procs.pss_kb(w.pid) for w in d.workers() if w.role in ("gateway", "backend")) / 1024


def body_of(size):
    """A chat request of just under `size` bytes with one image in it."""
    head = b'{"model": "m",\t"messages":[{"role":"user","content":[{"type":"text","text":"What?"},' \
           b'{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    tail = b'"}}]}],  "unknown_field": 1.50}'
    room = (size - len(head) - len(tail)) // 4 * 3
    return head + base64.b64encode(os.urandom(room)) + tail


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_an_image_of_32_mb_goes_through_byte_by_byte(daemon, upstream):
    u = upstream()
    d = start(daemon, u)
    body = body_of(32 * MIB)
    assert 32 * MIB - 8 < len(body) <= 32 * MIB
    r = d.post("/v1/chat/completions", body)
    assert r.status_code == 200, r.text
    assert digest(u.chats()[0].body) == digest(body)
    r = d.post("/v1/chat/completions", body + b" " * 16)
    assert r.status_code == 413, r.text


@pytest.mark.plain_only
def test_memory_comes_back_after_large_bodies(daemon, upstream):
    u = upstream()
    d = start(daemon, u)
    assert d.chat("m").status_code == 200
    base = pss_mb(d)
    body = body_of(32 * MIB)
    with ThreadPoolExecutor(3) as pool:
        for r in pool.map(lambda _: d.post("/v1/chat/completions", body,
                                           timeout=60), range(6)):
            assert r.status_code == 200, r.text
    u.requests.clear()
    until("the memory comes back", lambda: pss_mb(d) < base + 12, 20, 0.2)
    assert d.chat("m").status_code == 200


# ---- IPv6


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_on_both_sides(daemon, upstream):
    import httpx
    u, port = upstream(host="::1"), free_port()
    d = daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")],
                "listen": [f"[::1]:{port}"]}, wait_ready=False)
    with httpx.Client(base_url=f"http://[::1]:{port}", trust_env=False) as c:
        def ready():
            try:
                return c.get("/ready").status_code == 200
            except httpx.HTTPError:
                return False
        until("GET /ready answers 200", ready)
        r = c.post("/v1/chat/completions", json={
            "model": "m", "messages": [{"role": "user", "content": "x"}]})
        assert r.status_code == 200, r.text
    assert u.chats()[0].header("host") == f"[::1]:{u.port}"
