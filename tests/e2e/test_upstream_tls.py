# SPDX-License-Identifier: Apache-2.0
"""Upstreams behind TLS: whom shunt trusts, and what it says when it does not."""
import shutil
import signal
import socket
import threading

import pytest
from harness.daemon import model, openai, sim
from harness.tls import Authority
from harness.wait import until

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def down(d, name):
    """What `shunt status` says of a deployment that its probe found down."""
    return until(f"{name} is down", lambda: next(
        (x for m in d.status()["models"] for x in m["deployments"]
         if x["backend"] == name and x["health"] == "down"), None))


def start(daemon, u, **keys):
    return daemon({"backends": [openai("up", u.url, **keys)], "models": [model("m", "up")]},
                  wait_ready=False)


def refused(d, *words):
    """The chat fails with a clear message, the status says the same, the daemon lives."""
    until("it serves", lambda: alive(d))
    r = d.chat("m")
    assert r.status_code in (502, 503), r.text
    message = r.json()["error"]["message"]
    why = down(d, "up")["why"]
    for word in words:
        assert word in message or r.status_code == 503, message
        assert word in why, why
    assert alive(d)
    return message


def alive(d):
    import httpx
    try:
        return d.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_an_authority_from_the_config(daemon, upstream, authority):
    u = upstream(tls=authority.server())
    d = start(daemon, u, ca_file=str(authority.ca))
    d.wait_ready()
    for _ in range(3):
        assert d.chat("m").json()["choices"][0]["message"]["content"] == "hello from upstream"
    r, events = d.stream("m")
    assert r.status_code == 200 and events[-1] == "[DONE]"
    assert u.connections <= 2, "a connection per request: nothing is reused"


def test_an_unknown_authority_is_refused(daemon, upstream, authority):
    u = upstream(tls=authority.server())
    d = start(daemon, u)
    refused(d, "TLS", "certificate")
    assert u.requests == [], "a request went to a server that nobody vouches for"


def test_the_wrong_authority_is_refused(daemon, upstream, authority, tmp_path):
    u = upstream(tls=authority.server())
    d = start(daemon, u, ca_file=str(Authority(tmp_path / "other", "another authority").ca))
    refused(d, "TLS", "certificate")
    assert u.requests == []


def test_the_wrong_name_is_refused(daemon, upstream, authority):
    u = upstream(tls=authority.server("DNS:elsewhere.example"))
    d = start(daemon, u, ca_file=str(authority.ca))
    refused(d, "TLS", "127.0.0.1")
    assert u.requests == []


def test_tls_verify_no_takes_any_certificate(daemon, upstream, authority):
    u = upstream(tls=authority.server("DNS:elsewhere.example"))
    d = start(daemon, u, tls_verify=False)
    d.wait_ready()
    assert d.chat("m").status_code == 200


def test_a_ca_file_that_is_not_there(daemon, upstream, authority, tmp_path):
    u = upstream(tls=authority.server())
    d = start(daemon, u, ca_file=str(tmp_path / "nothing.pem"))
    refused(d, "nothing.pem")


def test_plain_http_behind_an_https_url(daemon):
    def answer(listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        d = daemon({"backends": [openai("up", url)], "models": [model("m", "up")]},
                   wait_ready=False)
        refused(d, "TLS", "wrong version number")
        listener.shutdown(socket.SHUT_RDWR)


def test_status_says_why_a_backend_never_listed_anything(daemon, upstream, authority):
    u = upstream(tls=authority.server())
    d = daemon({"backends": [openai("up", u.url), sim("s")]})

    def row():
        return next(b for b in d.status()["backends"] if b["name"] == "up")
    until("it is down", lambda: row()["health"] == "down")
    assert "TLS" in row()["why"] and "certificate" in row()["why"]
    assert [r for r in d.events("backend_down") if "TLS" in r[3]]
    assert "up" not in {x["backend"] for m in d.status()["models"] for x in m["deployments"]}
    d.reload(backends=[openai("up", u.url, ca_file=str(authority.ca)), sim("s")])
    until("its model is served", lambda: d.chat("m").status_code == 200)
    assert (row()["health"], row()["breaker"], row()["why"]) == ("up", "closed", "")


def test_others_serve_while_one_is_not_trusted(daemon, upstream, authority):
    u = upstream(tls=authority.server())
    d = daemon({"backends": [openai("up", u.url), sim("s")],
                "models": [model("m", "up", quality=1), model("s", "s", quality=0.1)],
                "routes": [{"name": "auto", "models": ["m", "s"], "strategy": "quality_first"}]})
    for _ in range(5):
        r = d.chat()
        assert r.status_code == 200 and r.headers["x-shunt-model"] == "s"


def test_trust_changes_with_a_reload(daemon, upstream, authority):
    u = upstream(tls=authority.server())
    d = daemon({"backends": [openai("up", u.url), sim("s")],
                "models": [model("m", "up"), model("s", "s")]})
    assert d.chat("m").status_code in (502, 503)
    d.reload(backends=[openai("up", u.url, ca_file=str(authority.ca)), sim("s")])
    until("the authority is taken", lambda: d.chat("m").status_code == 200)
    served = len(u.chats())
    d.reload(backends=[openai("up", u.url), sim("s")])
    until("the authority is dropped", lambda: d.chat("m").status_code in (502, 503))
    asked = len(u.chats())
    assert asked >= served
    assert d.chat("m").status_code in (502, 503)
    assert len(u.chats()) == asked


def test_the_authority_is_replaced_under_its_name(daemon, upstream, authority, tmp_path):
    new = Authority(tmp_path / "new")
    old = upstream(tls=authority.server())
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.ca.read_bytes())
    d = start(daemon, old, ca_file=str(path))
    d.wait_ready()
    u = upstream(tls=new.server())
    d.reload(backends=[openai("up", u.url, ca_file=str(path))])
    until("another server is asked", lambda: d.chat("m").status_code != 200)
    path.write_bytes(new.ca.read_bytes())
    d.signal(signal.SIGHUP)
    until("the new authority is trusted", lambda: d.chat("m").status_code == 200)
    (tmp_path / "next.pem").write_bytes(authority.ca.read_bytes())
    (tmp_path / "next.pem").replace(path)
    d.signal(signal.SIGHUP)
    until("the new authority is forgotten", lambda: d.chat("m").status_code != 200)
