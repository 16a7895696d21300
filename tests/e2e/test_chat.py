# SPDX-License-Identifier: Apache-2.0
"""The public endpoints with simulated models: shapes, headers, streams, errors."""
import json
import re

import pytest
from harness.daemon import model, sim
from harness.http import error_of


@pytest.fixture
def two_models(daemon):
    return daemon({
        "backends": [sim("fast", models=["small"]), sim("slow", models=["big"], seed=2)],
        "models": [model("small", "fast", quality=0.3, input_usd=1, output_usd=2),
                   model("big", "slow", quality=0.9, input_usd=10, output_usd=20)],
        "routes": [{"name": "auto", "models": ["small", "big"]},
                   {"name": "cheap", "models": ["small", "big"], "strategy": "cost_first"}],
    })


def test_an_answer_has_openai_shape_and_says_what_was_decided(two_models):
    r = two_models.chat("auto")
    assert r.status_code == 200, r.text
    body = r.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] in ("stop", "length")
    assert body["usage"]["total_tokens"] == (
        body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"])
    for name in ("request-id", "model", "backend", "route", "reason", "attempts", "cost-usd"):
        assert r.headers.get(f"x-shunt-{name}"), f"no x-shunt-{name} in {r.headers}"
    assert r.headers["x-shunt-route"] == "auto"
    assert r.headers["x-shunt-model"] in ("small", "big")
    assert r.headers["x-shunt-backend"] in ("fast", "slow")
    assert r.headers["x-shunt-attempts"] == "1"
    assert float(r.headers["x-shunt-cost-usd"]) > 0
    assert re.fullmatch(r"[\x20-\x7e]+", r.headers["x-shunt-reason"])


def test_a_stream_is_events_and_ends_with_done(two_models):
    r, events = two_models.stream("small", stream_options={"include_usage": True})
    assert r.status_code == 200
    assert r.headers["content-type"].startswith("text/event-stream")
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e) for e in events[:-1]]
    assert all(c["object"] == "chat.completion.chunk" for c in chunks)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert [c for c in chunks if c.get("usage")], "asked for usage, got none"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1]
    for name in ("request-id", "model", "backend", "reason", "attempts"):
        assert r.headers.get(f"x-shunt-{name}")


def test_stream_and_answer_carry_the_same_text(two_models):
    whole = two_models.chat("small", "Say it.").json()["choices"][0]["message"]["content"]
    _, events = two_models.stream("small", "Say it.")
    parts = [json.loads(e)["choices"] for e in events[:-1]]
    assert "".join(c[0]["delta"].get("content") or "" for c in parts if c) == whole


def test_the_simulated_model_repeats_itself(two_models):
    texts = {two_models.chat("small", "Again?").json()["choices"][0]["message"]["content"]
             for _ in range(3)}
    assert len(texts) == 1


def test_every_request_has_its_own_id(two_models):
    ids = {two_models.chat("small").headers["x-shunt-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_models_lists_models_and_routes(two_models):
    body = two_models.get("/v1/models").json()
    assert body["object"] == "list"
    assert {"small", "big", "auto", "cheap"} <= {m["id"] for m in body["data"]}
    for m in body["data"]:
        assert m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"]


def test_one_model_can_be_asked_for_by_name(two_models):
    r = two_models.get("/v1/models/small")
    assert r.status_code == 200 and r.json()["id"] == "small"
    assert two_models.get("/v1/models/nobody").status_code == 404


def test_a_model_is_used_when_named(two_models):
    for name, backend in (("small", "fast"), ("big", "slow")):
        r = two_models.chat(name)
        assert (r.headers["x-shunt-model"], r.headers["x-shunt-backend"]) == (name, backend)


def test_a_deployment_can_be_named(two_models):
    r = two_models.chat("slow/big")
    assert r.status_code == 200, r.text
    assert r.headers["x-shunt-backend"] == "slow"


def test_no_model_means_the_default_route(two_models):
    r = two_models.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    assert r.status_code == 200, r.text
    assert r.headers["x-shunt-route"] == "auto"


def test_an_unknown_model_is_404_and_near_names_are_told(two_models):
    r = two_models.chat("smal")
    assert r.status_code == 404
    error = error_of(r.content)
    assert error["code"] == "model_not_found"
    assert "small" in error["message"]


def test_routellm_names_choose_by_threshold(two_models):
    weak = two_models.chat("router-heuristic-1.0", "Hi")
    strong = two_models.chat("router-heuristic-0.0", "Hi")
    assert weak.status_code == strong.status_code == 200, weak.text + strong.text
    assert weak.headers["x-shunt-model"] == "small"
    assert strong.headers["x-shunt-model"] == "big"


def test_completions_answer_text(two_models):
    r = two_models.post("/v1/completions", {"model": "small", "prompt": "Once upon"})
    assert r.status_code == 200, r.text
    assert r.json()["object"] == "text_completion"
    assert r.json()["choices"][0]["text"]


def test_embeddings_answer_vectors(two_models):
    r = two_models.post("/v1/embeddings", {"model": "small", "input": ["a", "b"]})
    assert r.status_code == 200, r.text
    rows = r.json()["data"]
    assert [row["index"] for row in rows] == [0, 1]
    assert all(isinstance(x, float) for x in rows[0]["embedding"])
    assert rows[0]["embedding"] != rows[1]["embedding"]


@pytest.mark.parametrize("path,method,status", [
    ("/v1/nothing", "GET", 404), ("/", "POST", None), ("/v1/chat/completions", "GET", 405),
    ("/v1/models", "POST", 405), ("/v1/chat/completions/", "POST", 404),
])
def test_wrong_paths_and_methods_are_told(two_models, path, method, status):
    with two_models.client() as c:
        r = c.request(method, path, content=b"{}" if method == "POST" else None)
    assert r.status_code in ((status,) if status else (404, 405)), r.text
    error_of(r.content)
    if r.status_code == 405:
        assert r.headers.get("allow")


BAD_BODIES = {
    "empty": b"", "no JSON": b"hello", "cut": b'{"model":"small","messages":[', "array": b"[]",
    "number": b"1",
    "model is a number": b'{"model":1,"messages":[{"role":"user","content":"x"}]}',
    "no messages": b'{"model":"small"}', "messages empty": b'{"model":"small","messages":[]}',
    "messages no array": b'{"model":"small","messages":"x"}',
    "message no object": b'{"model":"small","messages":[1]}',
    "two models": b'{"model":"small","model":"big","messages":[{"role":"user","content":"x"}]}',
    "stream no bool": b'{"model":"small","stream":"yes","messages":[{"role":"user","content":"x"}]}',
    "bad UTF-8": b'{"model":"small","messages":[{"role":"user","content":"\xff"}]}',
    "two values": b'{"model":"small","messages":[{"role":"user","content":"x"}]} {}',
    "lone comma": b'{"model":"small",,"messages":[]}',
    "control byte": b'{"model":"small","messages":[{"role":"user","content":"a\x01b"}]}',
    "deep": b'{"model":"small","messages":' + b"[" * 100000 + b"]" * 100000 + b"}",
    "empty model": b'{"model":"","messages":[{"role":"user","content":"x"}]}',
}


@pytest.fixture(scope="module")
def patient():
    """One daemon for all bad bodies: it must survive each."""
    from harness.daemon import Daemon
    d = Daemon({"backends": [sim("fast", models=["small", "big"])]})
    yield d
    d.stop()


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_body_is_refused_clearly(patient, what):
    before = patient.workers()
    r = patient.post("/v1/chat/completions", BAD_BODIES[what])
    assert r.status_code in (400, 404, 422), f"{r.status_code} {r.text}"
    assert error_of(r.content)["message"]
    assert patient.chat("small").status_code == 200
    assert patient.workers() == before, "a worker died of it"


def test_health_and_ready_answer_without_a_key(two_models):
    assert two_models.get("/health").status_code == 200
    assert two_models.get("/ready").status_code == 200


def test_not_ready_while_nothing_can_serve(daemon):
    d = daemon({"backends": [{"name": "gone", "url": "http://127.0.0.1:9", "probe_ms": 100}],
                "models": [model("m", "gone")]}, wait_ready=False)
    from harness.wait import until

    def alive():
        try:
            return d.get("/health").status_code == 200
        except Exception:
            return False
    until("/health answers", alive)
    # Until the first probe has failed, nobody knows.
    until("/ready says no", lambda: d.get("/ready").status_code == 503)
    assert b"gone" in d.get("/ready").content
    r = d.chat("m")
    assert r.status_code in (502, 503), r.text
    error_of(r.content)
