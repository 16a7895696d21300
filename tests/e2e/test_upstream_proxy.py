# SPDX-License-Identifier: Apache-2.0
"""Upstreams behind an HTTP proxy: only where the config says so."""
import shutil

import pytest
from harness.daemon import model, openai
from harness.ports import free_port
from harness.proxy import Proxy
from harness.tls import Authority
from harness.wait import until

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture
def proxy():
    started = []

    def start(**options):
        started.append(Proxy(**options))
        return started[-1]
    yield start
    for p in started:
        p.stop()


def config(u, **keys):
    return {"backends": [openai("up", u.url, **keys)], "models": [model("m", "up")]}


def test_http_through_a_proxy(daemon, upstream, proxy):
    u, p = upstream(), proxy()
    d = daemon(config(u, proxy=p.url))
    assert d.chat("m").status_code == 200
    r, events = d.stream("m")
    assert r.status_code == 200 and events[-1] == "[DONE]"
    assert set(p.methods()) == {"GET", "POST"}
    assert all(t.startswith(u.url) for _, t, _ in p.seen)


@needs_openssl
def test_https_through_a_proxy_is_a_tunnel(daemon, upstream, proxy, tmp_path):
    authority = Authority(tmp_path)
    u, p = upstream(tls=authority.server()), proxy()
    key = tmp_path / "key"
    key.write_text("secret-of-the-upstream\n")
    key.chmod(0o600)
    d = daemon(config(u, proxy=p.url, ca_file=str(authority.ca), key_file=str(key)))
    for _ in range(3):
        assert d.chat("m").status_code == 200
    r, events = d.stream("m")
    assert r.status_code == 200 and events[-1] == "[DONE]"
    assert set(p.methods()) == {"CONNECT"}
    assert "secret-of-the-upstream" not in str(p.seen), "the proxy was told the key"
    assert u.chats()[0].header("authorization") == "Bearer secret-of-the-upstream"


def test_the_environment_is_not_asked(daemon, upstream, proxy):
    u, p = upstream(), proxy()
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    d = daemon(config(u), environment={n: p.url for n in names})
    assert d.chat("m").status_code == 200
    assert p.seen == []


@pytest.mark.parametrize("exempt", ["*", "127.0.0.1"])
def test_no_proxy_of_the_environment_does_not_undo_the_config(daemon, upstream, proxy, exempt):
    u, p = upstream(), proxy()
    d = daemon(config(u, proxy=p.url), environment={"no_proxy": exempt, "NO_PROXY": exempt})
    assert d.chat("m").status_code == 200
    assert "POST" in p.methods()


def why(d):
    return until("the probe failed", lambda: next(
        (x["why"] for m in d.status()["models"] for x in m["deployments"]
         if x["health"] == "down"), None))


def serves(d):
    import httpx
    try:
        return d.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_proxy_that_is_not_there(daemon, upstream):
    u, gone = upstream(), f"http://127.0.0.1:{free_port()}"
    d = daemon(config(u, proxy=gone), wait_ready=False)
    until("it serves", lambda: serves(d))
    text = why(d)
    assert "proxy" in text and "refused" in text, text
    assert d.chat("m").status_code == 503
    assert u.requests == []


@needs_openssl
def test_a_proxy_that_refuses_the_tunnel(daemon, upstream, proxy, tmp_path):
    authority = Authority(tmp_path)
    u, p = upstream(tls=authority.server()), proxy(refuse="403 Forbidden")
    d = daemon(config(u, proxy=p.url, ca_file=str(authority.ca)), wait_ready=False)
    until("it serves", lambda: serves(d))
    text = why(d)
    assert "proxy" in text and "403" in text, text
    assert u.requests == []


def test_a_client_that_leaves_is_noticed_through_the_proxy(daemon, upstream, proxy):
    import httpx
    u, p = upstream(chat=lambda x: x.hang()), proxy()
    d = daemon(config(u, proxy=p.url))
    with pytest.raises(httpx.ReadTimeout):
        d.chat("m", options={"timeout": 1})
    u.wait_chats(1)
    assert u.chat_exchanges()[0].wait_gone(10)
