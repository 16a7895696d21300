# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 to an upstream: nginx terminates it in front of the scripted one."""
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from harness.daemon import model, openai
from harness.nginx import Nginx
from harness.paths import NGINX
from harness.tls import Authority
from harness.upstream import answer, chunk
from harness.wait import until

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (nginx-light)"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def h2(daemon, upstream, authority, tmp_path):
    """make(script) -> (daemon, upstream, nginx)."""
    started = []

    def make(chat=None, streams=256, **keys):
        u = upstream(chat=chat)
        n = Nginx(tmp_path / "nginx", u.port, authority.certificate("IP:127.0.0.1"), streams)
        started.append(n)
        d = daemon({"backends": [openai("up", n.url, ca_file=str(authority.ca), **keys)],
                    "models": [model("m", "up")]})
        return d, u, n
    yield make
    for n in started:
        n.stop()


def wait_served(n, count):
    until(f"nginx logged {count} requests", lambda: len(n.served()) >= count)
    return n.served()


def test_chat_and_stream(h2):
    d, u, n = h2()
    for _ in range(3):
        assert d.chat("m").json()["choices"][0]["message"]["content"] == "hello from upstream"
        r, events = d.stream("m")
        assert r.status_code == 200 and events[-1] == "[DONE]"
    rows = wait_served(n, 6)
    assert {(p, s) for _, p, s in rows} == {("HTTP/2.0", 200)}
    assert len({c for c, _, _ in rows}) == 1, "more than one connection for calls one by one"


def test_an_error_keeps_its_body(h2):
    from harness.upstream import fail
    d, _, _ = h2(fail(429, "rate_limit_error", "slow down", [("Retry-After", "7")]))
    r = d.chat("m")
    assert r.status_code == 429 and r.headers["retry-after"] == "7"
    assert r.json()["error"]["message"] == "slow down"


def test_many_streams_share_one_connection(h2):
    together = threading.Barrier(40, timeout=30)

    def script(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "one "}))
        together.wait()  # passes only when all 40 are under way at once
        x.event(chunk({"content": "two"}))
        x.event(chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    d, u, n = h2(script)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: d.stream("m"), range(40)))
    assert all(r.status_code == 200 and e[-1] == "[DONE]" for r, e in answers)
    rows = wait_served(n, 40)
    assert len({c for c, _, _ in rows}) == 1, "the streams did not share the connection"


def test_a_burst_at_the_start_opens_few_connections(h2):
    d, u, n = h2(answer(), probe_ms=60000)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: d.chat("m"), range(80)))
    assert {r.status_code for r in answers} == {200}
    assert len({c for c, _, _ in wait_served(n, 80)}) == 1


def test_more_streams_than_a_connection_takes(h2):
    d, u, n = h2(answer(), streams=8)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: d.chat("m"), range(120)))
    assert {r.status_code for r in answers} == {200}


def test_cancel_resets_the_stream_and_keeps_the_connection(h2):
    hanging = []

    def script(x):
        if x.request.json().get("user") != "hang":
            return answer()(x)
        hanging.append(x)
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "one "}))
        return x.hang()
    d, u, n = h2(script)
    assert d.chat("m").status_code == 200
    with d.client() as c, c.stream("POST", "/v1/chat/completions", json={
            "model": "m", "stream": True, "user": "hang",
            "messages": [{"role": "user", "content": "x"}]}) as r:
        assert r.status_code == 200
        next(r.iter_lines())
    assert hanging[0].wait_gone(10), "the cancel did not reach the upstream"
    assert d.chat("m").status_code == 200
    rows = wait_served(n, 3)
    assert len({c for c, _, _ in rows}) == 1, "the cancel closed the connection"


def test_a_client_timeout_before_the_first_byte(h2):
    d, u, n = h2(lambda x: x.hang())
    with pytest.raises(httpx.ReadTimeout):
        d.chat("m", options={"timeout": 1})
    assert u.wait_chats(1)
    assert u.chat_exchanges()[0].wait_gone(10)


def test_a_slow_client_holds_one_stream_and_not_the_others(h2):
    def script(x):
        if x.request.json().get("user") != "flood":
            return answer()(x)
        x.begin_stream()
        for _ in range(20000):
            x.event(chunk({"content": "x" * 6000}))
        x.event("[DONE]")
        return x.end_stream()
    d, u, n = h2(script)
    with d.client() as c, c.stream("POST", "/v1/chat/completions", json={
            "model": "m", "stream": True, "user": "flood",
            "messages": [{"role": "user", "content": "x"}]}) as r:
        lines = r.iter_lines()
        next(lines)
        for _ in range(20):
            assert d.chat("m").status_code == 200
        x = next(x for x in u.chat_exchanges() if b"flood" in x.request.body)
        # Of 120 MB: curl's window of a stream is 32 MB and can't be set, the kernel's buffers on both
        # sides of nginx grow to 20 MB; a credit is much less.
        assert x.sent < 64_000_000, "nothing held the upstream back"
        assert sum(1 for line in lines if line.startswith("data: ")) >= 20000


def test_a_large_body(h2):
    d, u, n = h2()
    text = "word " * 1_000_000
    assert d.chat("m", text).status_code == 200
    assert u.chats()[-1].json()["messages"][0]["content"] == text
