# SPDX-License-Identifier: Apache-2.0
"""discover_local: model servers on their usual ports join by themselves, and may leave."""
import fcntl
import re
import socket
import tempfile
from pathlib import Path

import pytest
from harness.daemon import sim
from harness.dialects import Ollama
from harness.upstream import Upstream, answer
from harness.wait import until

JOIN_S = 6


@pytest.fixture
def local(wire):
    """start(class, port, ...) -> server on a usual port; no other test has these ports now."""
    started = []
    lock = open(Path(tempfile.gettempdir()) / "shunt-e2e-local-ports.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def start(kind, port, *arguments, **options):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as e:
            pytest.skip(f"port {port} is taken: {e}")
        started.append(kind(*arguments, port=port, **options))
        return started[-1]
    yield start
    for u in started:
        u.stop()
    lock.close()


def demo(daemon):
    return daemon({"discover_local": True,
                   "backends": [{**sim("sim-small", models=["small"]), "standby": True}],
                   "models": [{"name": "small", "deployments": [{"backend": "sim-small"}]}]})


def failed_probes(d):
    rows = re.findall(r"^shunt_probes_failed_total\{.*\} (\d+)", d.get("/metrics").text, re.M)
    return sum(map(int, rows))


def who(d):
    r = d.chat()
    assert r.status_code == 200, r.text
    return r.headers["x-shunt-backend"]


def joins_and_leaves(d, start, name, model_name):
    assert who(d) == "sim-small"
    u = start()
    until(f"{name} answers", lambda: who(d) == name, JOIN_S)
    assert model_name in d.models()
    assert d.chat(model_name).headers["x-shunt-backend"] == name
    for _ in range(5):
        assert who(d) == name, "a simulated model answered beside a real one"
    u.stop()
    for _ in range(20):
        assert who(d) == "sim-small", "nobody took over"
    again = start()
    until(f"{name} is back", lambda: who(d) == name, JOIN_S)
    again.stop()


def test_ollama(daemon, local, wire):
    def start():
        u = local(Ollama, 11434, wire)
        u.play("/api/chat", "ollama/200-api_chat-think-test-async-chat-c5a631.json")
        return u
    joins_and_leaves(demo(daemon), start, "ollama-local", "llama3.2:latest")


def test_llamacpp(daemon, local, wire):
    def start():
        u = local(Upstream, 8080, chat=answer("of llama.cpp"))
        for path, file in (("/v1/models", "200-models.json"), ("/health", "200-health.json"),
                           ("/props", "200-props.json")):
            body = (wire / "llamacpp-server" / file).read_bytes()
            u.other[path] = lambda x, body=body: x.reply(body)
        return u
    joins_and_leaves(demo(daemon), start, "llamacpp-local", "stories260k")


def test_vllm(daemon, local):
    listed = {"object": "list", "data": [
        {"id": "lab/model-7b", "object": "model", "created": 1, "owned_by": "vllm",
         "root": "lab/model-7b", "parent": None, "max_model_len": 16384}]}

    def start():
        u = local(Upstream, 8000, chat=answer("of vLLM"))
        u.other["/v1/models"] = lambda x: x.reply(listed)
        return u
    d = demo(daemon)
    joins_and_leaves(d, start, "vllm-local", "lab/model-7b")
    row = next(m for m in d.status()["models"] if m["name"] == "lab/model-7b")
    assert row["context_tokens"] == 16384


def test_something_else_on_the_port_is_left_alone(daemon, local):
    """A web server on 8080 is no model server: nothing joins, nothing fails."""
    def page(x):
        x.reply(b"<html>hello</html>", content_type="text/html")
    d = demo(daemon)
    u = local(Upstream, 8080)
    u.other = {"/v1/models": page, "/health": page, "/props": page}
    until("it was asked", lambda: u.requests, JOIN_S)
    for _ in range(10):
        assert who(d) == "sim-small"
    assert "llamacpp-local" not in {x["backend"] for m in d.status()["models"]
                                    for x in m["deployments"]}


def test_servers_that_are_not_there_are_no_news(daemon, local):
    d = demo(daemon)
    assert who(d) == "sim-small"
    until("they were looked for", lambda: failed_probes(d) >= 3)
    assert not [e for e in d.events() if e[0] in ("warn", "error")
                and e[2] != "sandbox_no_seccomp"], d.log()
    health = {b["name"]: (b["health"], b["why"]) for b in d.status()["backends"]}
    assert health.pop("sim-small") == ("up", "")
    assert len(health) == 3
    assert set(health.values()) == {("none", "nothing answers there, or it has no model")}
