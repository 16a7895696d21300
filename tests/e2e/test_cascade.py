# SPDX-License-Identifier: Apache-2.0
"""Failures before the first byte move to the next candidate; exactly one answer comes back."""
import json
import time

import pytest
from harness.daemon import model, openai
from harness.http import error_of
from harness.paths import SLOW
from harness.ports import free_port
from harness.upstream import answer, chunk, completion, fail
from harness.wait import until


@pytest.fixture
def pair(daemon, upstream):
    """A route that tries `first` and then `second`, which always answers."""
    def make(script, first_url=None, backend=None, route=None, host="127.0.0.1", **config):
        first = upstream(models=["a"], chat=script)
        second = upstream(models=["b"], chat=answer("from the second"))
        d = daemon({
            "backends": [openai("first", (first_url or first.url).replace("127.0.0.1", host),
                                **(backend or {})),
                         openai("second", second.url)],
            "models": [model("a", "first", quality=0.9), model("b", "second", quality=0.2)],
            "routes": [{"name": "auto", "models": ["a", "b"], "strategy": "quality_first",
                        "dial": 1.0, **(route or {})}], **config})
        return d, first, second
    return make


def moved_on(d, first, second, **more):
    r = d.chat("auto", **more)
    assert r.status_code == 200, r.text
    assert "from the second" in r.json()["choices"][0]["message"]["content"]
    assert r.headers["x-shunt-backend"] == "second"
    assert r.headers["x-shunt-attempts"] == "2"
    assert len(second.chats()) == 1
    return r


@pytest.mark.parametrize("status,headers", [
    (500, []), (502, []), (503, []), (504, []), (529, []), (429, [("Retry-After", "3")]),
    (401, []), (403, []), (404, []), (408, []),
])
def test_a_failing_first_candidate_is_replaced(pair, status, headers):
    d, first, second = pair(fail(status, headers=headers))
    moved_on(d, first, second)
    assert len(first.chats()) == 1, "the first candidate was asked more than once"


def test_the_stream_too(pair):
    d, _, second = pair(fail(500))
    r, events = d.stream("auto")
    assert r.status_code == 200 and events[-1] == "[DONE]"
    assert r.headers["x-shunt-attempts"] == "2"
    text = "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1])
    assert "from the second" in text


SCRIPTS = {
    "reset before the head": lambda x: x.reset(),
    "closed before the head": lambda x: x.cut(),
    "cut head": lambda x: (x.send(b"HTTP/1.1 200 O"), x.cut()),
    "no HTTP": lambda x: (x.send(b"SSH-2.0-OpenSSH\r\n\r\n"), x.cut()),
    "empty body": lambda x: x.reply(b""),
    "no JSON": lambda x: x.reply(b"<html>busy</html>", content_type="text/html"),
    "cut JSON": lambda x: x.reply(b'{"choices":[{"mess'),
    "short body": lambda x: (x.head(200, [("Content-Length", 500)]), x.send(b'{"id"'), x.cut()),
    "reset in the body": lambda x: (x.head(200, [("Content-Length", 500)]), x.send(b'{'), x.reset()),
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_broken_answer_is_replaced(pair, what):
    d, first, second = pair(SCRIPTS[what])
    moved_on(d, first, second)


def endless(x):
    """An error whose body never ends."""
    x.head(500, [("Transfer-Encoding", "chunked")])
    while not x.gone() and not x.stopping.is_set():
        x.piece(b"z" * 4000)


def drip(x):
    """One whose body takes forever, and is never silent for long."""
    x.head(500, [("Content-Length", 100000)])
    while not x.gone() and not x.stopping.wait(0.05):
        x.send(b"z")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("script", [endless, drip])
def test_the_body_of_an_error_is_not_waited_for_without_end(pair, script, host):
    d, first, second = pair(script, host=host, backend={"stall_ms": int(500 * SLOW)})
    moved_on(d, first, second)
    assert first.chat_exchanges()[0].wait_gone(5), "the failed call was left open"


def switched(x):
    """101 Switching Protocols, and then nothing."""
    x.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    x.hang()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_switched_protocol_is_told_at_once(pair, host):
    d, first, second = pair(switched, host=host)
    d.allow("breaker|backend")
    moved_on(d, first, second)
    r = d.chat("first/a")
    assert r.status_code == 502 and "it switches to another protocol" in r.text


STREAM_SCRIPTS = {
    "no event": lambda x: (x.begin_stream(), x.end_stream()),
    "cut before the first event": lambda x: (x.begin_stream(), x.cut()),
    "only a comment": lambda x: (x.begin_stream(), x.piece(b": ping\n\n"), x.cut()),
    "error as first event": lambda x: (
        x.begin_stream(), x.event({"error": {"message": "overloaded", "type": "server_error"}}),
        x.end_stream()),
    "garbage event": lambda x: (x.begin_stream(), x.event("{oops"), x.end_stream()),
}


@pytest.mark.parametrize("what", STREAM_SCRIPTS)
def test_a_stream_that_breaks_before_its_first_byte_is_replaced(pair, what):
    d, _, second = pair(STREAM_SCRIPTS[what])
    r, events = d.stream("auto")
    assert r.status_code == 200, events
    assert r.headers["x-shunt-backend"] == "second"
    assert events[-1] == "[DONE]"


def test_connection_refused_is_replaced(pair):
    d, first, second = pair(answer(), first_url=f"http://127.0.0.1:{free_port()}",
                            backend={"probe_ms": 60000})
    r = d.chat("auto")
    assert r.status_code == 200 and r.headers["x-shunt-backend"] == "second", r.text


def test_a_hanging_candidate_costs_its_hop_deadline(pair):
    d, first, second = pair(lambda x: x.hang(), route={"first_byte_ms": 400})
    begun = time.monotonic()
    moved_on(d, first, second)
    assert 0.35 < time.monotonic() - begun < 20 * SLOW
    assert first.chat_exchanges()[0].wait_gone(5), "the abandoned call was left open"


def test_a_backend_at_work_reports_the_deadline_itself(single):
    d, u = single(lambda x: x.hang(), backend={"first_byte_ms": int(1000 * SLOW)})
    r = d.chat("auto")
    assert r.status_code == 504 and "no first byte of the answer" in r.text


def test_a_begun_whole_answer_outlives_the_hop_deadline(pair):
    """Four hops long, and never silent for one."""
    def script(x):
        body = json.dumps(completion("at last")).encode()
        x.head(200, [("Content-Length", len(body))])
        for i in range(0, len(body), len(body) // 12 + 1):
            x.send(body[i:i + len(body) // 12 + 1])
            x.stopping.wait(0.1 * SLOW)
    d, first, second = pair(script, backend={"stall_ms": 60000}, route={
        "first_byte_ms": int(300 * SLOW)})
    r = d.chat("auto")
    assert r.status_code == 200 and "at last" in r.text
    assert r.headers["x-shunt-attempts"] == "1" and second.chats() == []


def test_a_candidate_that_sends_only_a_head_costs_its_hop_deadline(pair):
    d, first, second = pair(lambda x: (x.begin_stream(), x.hang()), route={"first_byte_ms": 400})
    r, events = d.stream("auto")
    assert r.headers["x-shunt-backend"] == "second" and events[-1] == "[DONE]"


@pytest.mark.parametrize("status", [400, 422])
def test_what_the_client_did_wrong_is_not_tried_elsewhere(pair, status):
    d, first, second = pair(fail(status, "invalid_request_error", "bad tool"))
    r = d.chat("auto")
    assert r.status_code in (400, 422)
    assert "bad tool" in error_of(r.content)["message"]
    assert second.chats() == []


def test_context_length_is_tried_elsewhere(pair):
    d, first, second = pair(fail(400, "invalid_request_error", "too long",
                                 code="context_length_exceeded"))
    moved_on(d, first, second)


def test_a_named_model_is_not_replaced_by_another(pair):
    d, first, second = pair(fail(500))
    r = d.chat("a")
    assert r.status_code in (500, 502, 503)
    assert error_of(r.content)["message"]
    assert second.chats() == []


def test_when_all_fail_the_error_is_clear(pair):
    d, first, second = pair(fail(500))
    second.chat = fail(429, "rate_limit_error", headers=[("Retry-After", "9")])
    r = d.chat("auto")
    assert r.status_code in (429, 502, 503)
    error_of(r.content)
    assert r.headers["x-shunt-attempts"] == "2"
    if r.status_code == 429:
        assert r.headers["retry-after"] == "9"


def test_attempts_are_limited(pair):
    d, first, second = pair(fail(500), route={"attempts": 1})
    assert d.chat("auto").status_code >= 500
    assert second.chats() == []


def test_two_deployments_of_one_model(daemon, upstream):
    bad, good = upstream(chat=fail(500)), upstream()
    d = daemon({"backends": [openai("bad", bad.url), openai("good", good.url)],
                "models": [model("m", "bad", "good")]})
    for _ in range(6):
        r = d.chat("m")
        assert r.status_code == 200 and r.headers["x-shunt-backend"] == "good"


def test_the_whole_request_has_a_deadline(daemon, upstream):
    u = upstream(chat=lambda x: x.hang())
    d = daemon({"backends": [openai("up", u.url)], "models": [model("m", "up")],
                "limits": {"request_ms": 700}})
    begun = time.monotonic()
    r = d.chat("m")
    assert r.status_code == 504
    assert error_of(r.content)["code"] in ("deadline_exceeded", "upstream_timeout")
    assert time.monotonic() - begun < 20 * SLOW
    assert u.chat_exchanges()[0].wait_gone(5)


@pytest.fixture
def single(daemon, upstream):
    def make(script, backend=None, **config):
        u = upstream(chat=script)
        return daemon({"backends": [openai("up", u.url, **(backend or {}))],
                       "models": [model("m", "up")], **config}), u
    return make


def begin(x):
    x.begin_stream()
    x.event(chunk({"role": "assistant", "content": "half"}))


@pytest.mark.parametrize("what,script", [
    ("cut", lambda x: (begin(x), x.cut())),
    ("reset", lambda x: (begin(x), x.reset())),
    ("error event", lambda x: (begin(x), x.event({"error": {"message": "boom", "type": "x"}}),
                               x.end_stream())),
    ("garbage", lambda x: (begin(x), x.event("{oops"), x.end_stream())),
    ("end without finish", lambda x: (begin(x), x.end_stream())),
])
def test_a_stream_broken_after_its_first_byte_ends_with_an_error_event(single, what, script):
    d, u = single(script)
    r, events = d.stream("m")
    assert r.status_code == 200
    texts = [json.loads(e) for e in events if e != "[DONE]"]
    assert any((c.get("choices") or [{}])[0].get("delta", {}).get("content") == "half"
               for c in texts), "what had come was lost"
    assert any("error" in c for c in texts), events
    assert len(u.chats()) == 1, "a committed answer was asked for again"


def of_two(x, *ended):
    """A stream of two choices that ends without [DONE], once these have finished."""
    def event(index, delta, finish=None):
        x.event({**chunk({}), "choices": [
            {"index": index, "delta": delta, "finish_reason": finish}]})
    x.begin_stream()
    for index in (0, 1):
        event(index, {"role": "assistant", "content": f"choice {index}"})
    for index in ended:
        event(index, {}, "stop")
    x.end_stream()


@pytest.mark.parametrize("ended", [(0, 1), (1, 0), (0,), (1,)])
def test_each_choice_of_a_stream_must_finish(single, ended):
    """Where there is no [DONE], that is how one knows a whole stream."""
    d, _ = single(lambda x: of_two(x, *ended))
    r, events = d.stream("m", n=2)
    assert r.status_code == 200
    rows = [json.loads(e) for e in events if e != "[DONE]"]
    texts = {c["delta"].get("content") for v in rows for c in v.get("choices", [])}
    assert {"choice 0", "choice 1"} <= texts, "what had come was lost"
    whole = len(ended) == 2
    assert (events[-1] == "[DONE]") == whole, events
    assert any("error" in v for v in rows) != whole, events


def test_a_stream_that_stalls_ends_with_an_error_event(single):
    d, u = single(lambda x: (begin(x), x.hang()), backend={"stall_ms": 400})
    begun = time.monotonic()
    r, events = d.stream("m")
    assert any("error" in json.loads(e) for e in events if e != "[DONE]")
    assert time.monotonic() - begun < 20 * SLOW
    assert u.chat_exchanges()[0].wait_gone(5)


def test_retry_after_comes_back(single):
    d, _ = single(fail(429, "rate_limit_error", headers=[("Retry-After", "11")]))
    r = d.chat("m")
    assert r.status_code == 429 and r.headers["retry-after"] == "11"
    assert error_of(r.content)["type"] == "rate_limit_error"


def test_a_backend_out_after_failures_is_probed_back_in(daemon, upstream):
    """It was left alone until its next planned probe, here a minute away."""
    failing = [True]

    def script(x):
        return fail(500)(x) if failing[0] else answer()(x)
    u = upstream(chat=script)
    # Without waiting for its trials, each of which would take twice as long as the one before.
    d = daemon({"backends": [openai("up", u.url, probe_ms=60000)], "models": [model("m", "up")],
                "breaker": {"wait_ms": 0}})
    d.allow("down|failed")
    until("it is out", lambda: d.chat("m").status_code == 503)
    failing[0] = False
    until("it is back", lambda: d.chat("m").status_code == 200)
