# SPDX-License-Identifier: Apache-2.0
"""Scorer cascade: the weak model answers, and a strong one where the weak was unsure of its tokens."""
import json
import math
import os
import signal
import threading

import openai as openai_client
import pytest
from harness import journal
from harness.daemon import model, openai, sim
from harness.http import Raw, chat_bytes, simple_chat
from harness.paths import SLOW
from harness.ports import free_port
from harness.upstream import answer, chunk, completion, fail
from harness.wait import until

WORDS = "one two three four five six seven eight"


def probs(text, p):
    return {"content": [{"token": text, "logprob": math.log(p), "bytes": None,
                         "top_logprobs": []}], "refusal": None}


def weak(p, text=WORDS, then=None):
    """Script: an answer whose tokens have the probability p (None: told to nobody), told only where
    it is asked for; `then` is called with the exchange before the last word."""
    def script(x):
        body = x.request.json()
        tells = p is not None and body.get("logprobs")
        words = [w + " " for w in text.split(" ")]
        if not body.get("stream"):
            whole = completion("".join(words), body["model"], usage={
                "prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 11})
            if tells:
                whole["choices"][0]["logprobs"] = {
                    "content": [t for w in words for t in probs(w, p)["content"]]}
            return x.reply(whole)
        x.begin_stream()
        for i, w in enumerate(words):
            if then is not None and i == len(words) - 1:
                then(x)
            piece = chunk({"content": w}, model=body["model"])
            piece["choices"][0]["logprobs"] = probs(w, p) if tells else None
            x.event(piece)
        x.event(chunk({}, "stop", model=body["model"]))
        x.event("[DONE]")
        return x.end_stream()
    return script


@pytest.fixture
def cascade(daemon, upstream):
    """A route of a weak and a strong model, both scripted."""
    def make(small, large=answer("from the strong"), route=None, large_url=None, keys=({}, {}),
             **config):
        a = upstream(models=["a"], chat=small)
        b = upstream(models=["b"], chat=large)
        d = daemon({
            "backends": [openai("small", a.url, **keys[0]),
                         openai("large", large_url or b.url, **keys[1])],
            "models": [model("a", "small", quality=0.3, input_usd=1, output_usd=1),
                       model("b", "large", quality=0.9, input_usd=10, output_usd=10)],
            "routes": [{"name": "auto", "models": ["a", "b"], "scorer": "cascade",
                        "threshold": 0.6, "hold": 4, **(route or {})}], **config})
        return d, a, b
    return make


def text_of(events):
    parts = [json.loads(e)["choices"] for e in events if e != "[DONE]"]
    return "".join(c[0]["delta"].get("content") or "" for c in parts if c)


def client_of(d):
    return openai_client.OpenAI(base_url=d.url + "/v1", api_key="any", max_retries=0,
                                timeout=20 * SLOW)


def say(text):
    return [{"role": "user", "content": text}]


# ---- sure and unsure

@pytest.mark.parametrize("stream", [False, True])
def test_a_sure_weak_model_answers(cascade, stream):
    d, a, b = cascade(weak(0.9))
    if stream:
        r, events = d.stream()
        assert text_of(events) == "".join(w + " " for w in WORDS.split(" "))
    else:
        r = d.chat()
    assert r.status_code == 200 and r.headers["x-shunt-model"] == "a"
    assert r.headers["x-shunt-attempts"] == "1"
    assert r.headers["x-shunt-reason"] == "cascade: a is sure, confidence 0.900 >= 0.600"
    assert len(a.chats()) == 1 and not b.chats(), "the strong model was asked, too"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unsure_weak_model_gives_way(cascade, stream):
    d, a, b = cascade(weak(0.3))
    if stream:
        r, events = d.stream()
        assert text_of(events) == "from the strong " and events[-1] == "[DONE]"
        assert not any("x_shunt" in e for e in events), "the client was told of a change"
    else:
        r = d.chat()
        assert r.json()["choices"][0]["message"]["content"] == "from the strong"
    assert r.status_code == 200 and r.headers["x-shunt-model"] == "b"
    assert r.headers["x-shunt-attempts"] == "2"
    assert r.headers["x-shunt-reason"] == "cascade: a is unsure, confidence 0.300 < 0.600"
    assert len(a.chats()) == 1 and len(b.chats()) == 1
    assert "logprobs" not in b.chats()[0].json(), "the strong model was asked how sure it is"


def test_the_official_client_gets_one_answer(cascade):
    d, *_ = cascade(lambda x: weak(0.3 if "hard" in x.request.body.decode() else 0.9)(x))
    with client_of(d) as c:
        for prompt, who in [("easy", WORDS + " "), ("hard", "from the strong")]:
            whole = c.chat.completions.create(model="auto", messages=say(prompt))
            assert whole.choices[0].message.content == who
            assert whole.choices[0].logprobs is None
            parts = list(c.chat.completions.create(
                model="auto", messages=say(prompt), stream=True))
            assert "".join(p.choices[0].delta.content or "" for p in parts).strip() == who.strip()
            assert all(p.choices[0].logprobs is None for p in parts)


def test_a_long_answer_is_judged_by_the_tokens_that_are_held(cascade):
    """It must be decided while the weak model still talks: its last word never comes."""
    d, a, _ = cascade(weak(0.3, then=lambda x: x.hang()))
    r, events = d.stream()
    assert r.headers["x-shunt-model"] == "b" and text_of(events) == "from the strong "
    until("the weak model's stream is closed", lambda: a.chat_exchanges()[0].gone())


def test_an_answer_shorter_than_what_is_held_is_judged_whole(cascade):
    d, *_ = cascade(weak(0.3, "short"), route={"hold": 1000})
    r, events = d.stream()
    assert r.headers["x-shunt-model"] == "b" and text_of(events) == "from the strong "


def test_completions(daemon):
    d = daemon({"backends": [sim("small", confidence=0.2), sim("large", confidence=0.9)],
                "models": [model("a", "small", upstream="small", quality=0.3),
                           model("b", "large", upstream="large", quality=0.9)],
                "routes": [{"name": "auto", "scorer": "cascade", "threshold": 0.5}]})
    for threshold, who in [(0.5, "b"), (0.1, "a")]:
        for stream in (False, True):
            r = d.post("/v1/completions", {"model": f"router-cascade-{threshold}",
                                           "prompt": "Hello", "stream": stream})
            assert r.status_code == 200 and r.headers["x-shunt-model"] == who, r.headers


def test_replicas_of_the_weak_model_are_not_asked_for_a_second_opinion(daemon, upstream):
    one, two, large = [upstream(models=["m"], chat=weak(p)) for p in (0.3, 0.3, 0.9)]
    d = daemon({"backends": [openai("one", one.url), openai("two", two.url),
                             openai("large", large.url)],
                "models": [model("a", "one", "two", upstream="m", quality=0.3),
                           model("b", "large", upstream="m", quality=0.9)],
                "routes": [{"name": "auto", "scorer": "cascade", "threshold": 0.6}]})
    assert d.chat().headers["x-shunt-model"] == "b"
    assert len(one.chats()) + len(two.chats()) == 1


def test_a_second_deployment_of_the_weak_model_is_judged_where_the_first_fails(daemon, upstream):
    one, two, large = [upstream(models=["m"], chat=s)
                       for s in (fail(500), weak(0.3), answer("from the strong"))]
    d = daemon({"backends": [openai("one", one.url), openai("two", two.url),
                             openai("large", large.url)],
                "models": [model("a", "one", "two", upstream="m", quality=0.3),
                           model("b", "large", upstream="m", quality=0.9)],
                "routes": [{"name": "auto", "scorer": "cascade", "threshold": 0.6}]})
    for _ in range(2):  # replicas take turns
        assert d.chat().headers["x-shunt-reason"].startswith("cascade: a is unsure")
    assert one.chats() and len(two.chats()) == 2


# ---- nobody sees what only we asked for

def test_the_request_grows_by_one_member_and_no_other_byte(cascade):
    d, a, _ = cascade(weak(0.9))
    sent = (b'{ "model" : "auto" ,"temperature":1.0e0, '
            b'"messages":[{"role":"user","content":"\\u00e9\\/"}] }')
    assert d.post("/v1/chat/completions", sent).status_code == 200
    assert a.chats()[0].body == sent.replace(b'"auto"', b'"a"').replace(
        b'{ "model"', b'{"logprobs":true,"top_logprobs":1, "model"')


def test_the_answer_is_as_if_nobody_had_asked(cascade):
    d, *_ = cascade(weak(0.9))
    _, events = d.stream()
    assert not any("logprob" in e.replace('"logprobs": null', "") for e in events)
    assert d.chat().json()["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_asks_itself_gets_what_it_asked_for(cascade, stream):
    d, a, _ = cascade(weak(0.9))
    with client_of(d) as c:
        got = c.chat.completions.create(model="auto", messages=say("x"), logprobs=True,
                                        top_logprobs=3, stream=stream)
        choices = [p.choices[0] for p in got] if stream else got.choices
        tokens = [t for x in choices if x.logprobs for t in x.logprobs.content]
    assert len(tokens) == 8 and tokens[0].logprob == pytest.approx(math.log(0.9))
    assert a.chats()[0].json()["top_logprobs"] == 3
    assert '"logprobs":true,"top_logprobs":1' not in a.chats()[0].body.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_ollama_as_the_weak_model(daemon, upstream, stream):
    """It has a form of its own, which becomes OpenAI's, without what only we asked for."""
    asked = []

    def small(x):
        body = x.request.json()
        asked.append(body.get("logprobs"))
        words = [{"token": w, "logprob": math.log(0.3)} for w in ("per", "haps")]
        lines = [{"model": "m", "message": {"role": "assistant", "content": t["token"]},
                  "done": False, "logprobs": [t]} for t in words]
        end = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True,
               "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
        if not body.get("stream"):
            return x.reply({**end, "logprobs": words,
                            "message": {"role": "assistant", "content": "perhaps"}})
        x.begin_stream("application/x-ndjson")
        for line in [*lines, end]:
            x.piece(json.dumps(line).encode() + b"\n")
        return x.end_stream()
    a, b = upstream(), upstream(models=["b"], chat=answer("from the strong"))
    a.other["/api/chat"] = small
    d = daemon({"backends": [{"name": "small", "kind": "ollama", "url": a.url, "probe_ms": 200},
                             openai("large", b.url)],
                "models": [model("a", "small", upstream="m", quality=0.3),
                           model("b", "large", quality=0.9)],
                "routes": [{"name": "auto", "models": ["a", "b"], "scorer": "cascade",
                            "threshold": 0.6}]})
    for threshold, who, text in [(0.6, "b", "from the strong"), (0.2, "a", "perhaps")]:
        if stream:
            r, events = d.stream(f"router-cascade-{threshold}")
            assert text_of(events).strip() == text and "logprob" not in "".join(events)
        else:
            r = d.chat(f"router-cascade-{threshold}")
            assert r.json()["choices"][0]["message"]["content"] == text
            assert "logprob" not in r.text.replace('"logprobs":null', "").replace(
                '"logprobs": null', "")
        assert r.headers["x-shunt-model"] == who, r.headers
        assert "confidence 0.300" in r.headers["x-shunt-reason"]
    assert asked == [True, True]


# ---- an upstream that tells nothing

def test_an_answer_without_probabilities_passes_and_says_so(cascade):
    d, _, b = cascade(weak(None))
    for _ in range(2):
        r = d.chat()
        assert r.headers["x-shunt-model"] == "a" and not b.chats()
        assert "does not tell how sure it is" in r.headers["x-shunt-reason"]
    assert d.stream()[0].headers["x-shunt-model"] == "a"
    assert d.counter("cascade_blind_total") == 3
    assert d.counter("cascade_sure_total") == 0 == d.counter("cascade_unsure_total")


def test_an_upstream_that_refuses_to_tell_is_asked_without(cascade):
    def script(x):
        if x.request.json().get("logprobs"):
            return fail(400, "invalid_request_error", "logprobs are not supported")(x)
        return answer("as it is")(x)
    d, a, b = cascade(script)
    r = d.chat()
    assert r.status_code == 200 and r.json()["choices"][0]["message"]["content"] == "as it is"
    assert r.headers["x-shunt-model"] == "a" and "refuses to tell" in r.headers["x-shunt-reason"]
    assert len(a.chats()) == 2 and not b.chats()


def test_a_bad_request_stays_one(cascade):
    d, a, b = cascade(fail(400, "invalid_request_error", "no such thing", code="odd"))
    r = d.chat()
    assert r.status_code == 400 and r.json()["error"]["message"] == "no such thing"
    assert len(a.chats()) == 2 and not b.chats()


# ---- when things break

@pytest.mark.parametrize("stream", [False, True])
def test_an_unsure_answer_is_better_than_an_error(cascade, stream):
    d, a, b = cascade(weak(0.3), fail(500))
    r = d.stream()[0] if stream else d.chat()
    assert r.status_code == 200 and r.headers["x-shunt-model"] == "a"
    assert r.headers["x-shunt-attempts"] == "3"
    assert r.headers["x-shunt-reason"] == (
        "cascade: a is unsure, confidence 0.300 < 0.600, but no other answered")
    assert len(a.chats()) == 2 and len(b.chats()) == 1
    assert "logprobs" not in a.chats()[1].json()
    assert d.counter("cascade_given_total") == 1


def test_a_strong_model_that_refuses_the_request_does_not_take_the_answer_away(cascade):
    d, *_ = cascade(weak(0.3), fail(400, "invalid_request_error", "not with me"))
    r = d.chat()
    assert r.status_code == 200 and r.headers["x-shunt-model"] == "a"


def test_a_strong_model_nobody_listens_for(cascade):
    d, *_ = cascade(weak(0.3), large_url=f"http://127.0.0.1:{free_port()}")
    for _ in range(3):  # its breaker opens, or a probe finds it down: then the weak one alone
        assert d.chat().headers["x-shunt-model"] == "a"


def test_nobody_answers(cascade):
    asked = []

    def once(x):
        asked.append(1)
        return weak(0.3)(x) if len(asked) == 1 else fail(500)(x)
    d, a, b = cascade(once, fail(500, message="the strong one is ill"))
    r = d.chat()
    assert r.status_code == 502, r.text
    assert r.json()["error"]["code"] != "unsure"
    assert len(a.chats()) == 2 and len(b.chats()) == 1


def test_a_weak_model_that_breaks_is_replaced(cascade):
    d, _, b = cascade(weak(0.9, "one two three", then=lambda x: x.cut()))
    r, events = d.stream()
    assert r.headers["x-shunt-model"] == "b" and text_of(events) == "from the strong "
    assert len(b.chats()) == 1


def test_a_weak_worker_that_is_killed_is_replaced(cascade):
    d, a, _ = cascade(weak(0.9, "one two three", then=lambda x: x.hang()))
    got = []
    d.allow(".*")
    t = threading.Thread(target=lambda: got.append(d.stream()))
    t.start()
    a.wait_chats(1)
    os.kill({w["name"]: w["pid"] for w in d.status()["workers"]}["small"], signal.SIGKILL)
    t.join()
    r, events = got[0]
    assert r.status_code == 200 and text_of(events) == "from the strong "


def test_what_goes_on_with_a_shown_answer_is_not_judged(cascade):
    """It was put aside in the middle, and the next one began anew behind what the client had."""
    def pieces(*words, end=True):
        def script(x):
            x.begin_stream()
            for w in words:
                choice = {"index": 0, "text": w, "finish_reason": None}
                if x.request.json().get("logprobs"):
                    choice["logprobs"] = {"tokens": [w], "token_logprobs": [math.log(0.3)]}
                x.event({"id": "c", "object": "text_completion", "created": 1, "choices": [choice]})
            if not end:
                x.cut()
            x.event({"id": "c", "object": "text_completion", "created": 1,
                     "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
            x.event("[DONE]")
            x.end_stream()
        return script

    d, a, b = cascade(None, None, route={"mid_stream": "continue", "retries": 1, "hold": 1})
    small = iter([pieces(end=False), *[pieces(" 3", " 4")] * 3])
    large = iter([pieces("1", " 2", end=False), *[pieces("1", " 2", " 3", " 4")] * 3])
    a.other["/v1/completions"] = lambda x: next(small)(x)
    b.other["/v1/completions"] = lambda x: next(large)(x)
    r = d.post("/v1/completions", {"model": "auto", "prompt": "0", "stream": True})
    events = [json.loads(e[6:]) for e in r.text.split("\n\n")
              if e.startswith("data: {")]
    assert "".join(e["choices"][0]["text"] for e in events) == "1 2 3 4"
    until("its record", lambda: journal.records(d, "request"))
    assert [(r["model"], r["code"]) for r in journal.records(d, "attempt")] == [
        ("a", "upstream_cut"), ("b", "upstream_cut"), ("a", "ok")]


def test_a_client_that_leaves_stops_whoever_answers(cascade):
    d, a, b = cascade(weak(0.3), lambda x: (x.begin_stream(), x.hang()))
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("auto", "x", stream=True)))
        b.wait_chats(1)
    until("the strong model's call is closed", lambda: b.chat_exchanges()[0].gone())
    until("a record", lambda: journal.records(d, "request"))
    assert [r["code"] for r in journal.records(d, "attempt")] == ["unsure", "client_closed"]
    assert len(a.chats()) == 1


def test_nobody_is_asked_again_when_the_time_to_finish_is_over(cascade):
    d, a, b = cascade(weak(0.3), lambda x: x.hang(), drain_ms=500)
    d.allow("drain")
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("auto", "x")))
        b.wait_chats(1)
        d.signal(signal.SIGTERM)
        assert raw.read_head()[0] == 503
        assert d.wait_end(6 * SLOW) == 0
    assert [r["code"] for r in journal.records(d, "attempt")] == ["unsure", "unavailable"]
    assert len(a.chats()) == 1


def test_the_end_while_a_full_strong_model_is_waited_for(cascade):
    d, a, b = cascade(weak(0.3), lambda x: x.hang(), keys=({}, {"max_in_flight": 1}), drain_ms=0)
    d.allow("drain")
    with Raw(d) as first, Raw(d) as second:
        first.send(chat_bytes(simple_chat("auto", "x")))
        b.wait_chats(1)
        second.send(chat_bytes(simple_chat("auto", "y")))
        until("it waits", lambda: d.counter("queue_length") == 1)
        d.signal(signal.SIGTERM)
        assert d.wait_end(6 * SLOW) == 0
    assert sorted(r["code"] for r in journal.records(d, "request")) == ["unavailable"] * 2


def test_unsure_answers_do_not_open_a_breaker(cascade):
    d, a, _ = cascade(weak(0.3), breaker={"min_calls": 2})
    for i in range(8):
        assert (d.chat() if i % 2 else d.stream()[0]).headers["x-shunt-model"] == "b"
    assert len(a.chats()) == 8, "the weak model was left alone"


def test_the_weak_models_place_is_free_while_the_strong_one_answers(cascade):
    go_on = threading.Event()

    def large(x):
        until("both are here", lambda: go_on.wait(0.05) or x.stopping.is_set())
        answer("from the strong")(x)
    d, a, b = cascade(weak(0.3), large, keys=({"max_in_flight": 1}, {}))
    got = []
    threads = [threading.Thread(target=lambda: got.append(d.chat())) for _ in range(3)]
    for n, t in enumerate(threads, 1):
        t.start()
        b.wait_chats(n)
    go_on.set()
    for t in threads:
        t.join()
    assert [r.headers["x-shunt-model"] for r in got] == ["b"] * 3
    assert len(a.chats()) == 3


def test_a_full_strong_model_is_waited_for(cascade):
    d, _, b = cascade(weak(0.3), lambda x: (x.stopping.wait(0.2), answer("from the strong")(x)),
                      keys=({}, {"max_in_flight": 1}))
    got = []
    threads = [threading.Thread(target=lambda: got.append(d.stream())) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [(r.headers["x-shunt-model"], text_of(e)) for r, e in got] == [
        ("b", "from the strong ")] * 3
    assert len(b.chats()) == 3
    assert any("x-shunt-queue-position" in r.headers for r, _ in got)


def test_hedges_find_one_answer(cascade):
    d, a, b = cascade(lambda x: (x.stopping.wait(0.3), weak(0.3)(x)),
                      lambda x: (x.stopping.wait(1.0), answer("from the strong")(x)),
                      route={"hedge_ms": 50})
    r, events = d.stream()
    assert r.headers["x-shunt-model"] == "b" and text_of(events) == "from the strong "
    assert len(a.chats()) == 1


# ---- what is written down

@pytest.mark.parametrize("stream", [False, True])
def test_both_calls_are_paid_and_recorded(cascade, stream):
    d, *_ = cascade(weak(0.3))
    r = d.stream()[0] if stream else d.chat()
    until("its record", lambda: journal.records(d, "request"))
    small, large = journal.records(d, "attempt")
    request, = journal.records(d, "request")
    assert (small["model"], small["code"], large["model"], large["code"]) == (
        "a", "unsure", "b", "ok")
    assert small["confidence"] == pytest.approx(0.3, abs=1e-6) and "confidence" not in large
    assert small["cost_usd"] > 0 < large["cost_usd"]
    assert request["cost_usd"] == pytest.approx(small["cost_usd"] + large["cost_usd"])
    assert request["model"] == "b" and request["attempts"] == 2 and request["code"] == "ok"
    assert "unsure" in request["reason"]
    if not stream:
        assert small["completion_tokens"] == 8 and small["prompt_tokens"] == 3
        assert float(r.headers["x-shunt-cost-usd"]) == pytest.approx(request["cost_usd"])


def test_the_explanation_says_what_the_call_will_decide(cascade):
    d, *_ = cascade(weak(0.9))
    got = d.post("/v1/route", {"model": "auto", "messages": say("Hello")}).json()
    assert got["model"] == "a" and got["scorer"] == "cascade" and got["threshold"] == 0.6
    assert got["reason"] == "cascade: a first, b where its confidence is < 0.600"
    assert [c["model"] for c in got["candidates"]] == ["a", "b"]


def test_the_prompt_log_has_what_calibrate_needs(cascade):
    d, *_ = cascade(lambda x: weak(0.3 if "hard" in x.request.body.decode() else 0.9)(x),
                    prompt_log_bytes="1MiB")
    d.chat(text="easy")
    d.chat(text="hard")
    rows = [json.loads(line) for p in (d.home / "state/prompts").iterdir()
            for line in p.read_text().splitlines()]
    assert [(r["prompt"], round(r["confidence"]["a"], 3)) for r in rows] == [
        ("easy", 0.9), ("hard", 0.3)]


def test_sessions_begin_each_turn_with_the_weak_model(cascade):
    d, a, b = cascade(weak(0.3))
    history = say("one")
    for turn in range(3):
        r = d.post("/v1/chat/completions", {"model": "auto", "messages": history},
                   headers={"x-shunt-session": "s"})
        assert r.headers["x-shunt-model"] == "b"
        history += [{"role": "assistant", "content": "x"}, *say(f"turn {turn}")]
    assert len(a.chats()) == len(b.chats()) == 3
