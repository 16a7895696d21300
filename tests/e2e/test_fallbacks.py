# SPDX-License-Identifier: Apache-2.0
"""Who is tried after a failure: chains of a route and of a request, larger contexts, other models,
the strong after the weak, the same again after a pause, two at once; and what bounds them."""
import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.daemon import model, openai
from harness.http import error_of
from harness.paths import SLOW
from harness.upstream import answer, chunk, fail
from harness.wait import until


@pytest.fixture
def fleet(daemon, upstream):
    """Upstreams a, b, c, ...; each serves the model of its name. Keys of a model row in `rows`."""
    def make(scripts, routes=None, rows=None, **config):
        ups = {n: upstream(models=[n], chat=s or answer(f"from {n}"))
               for n, s in scripts.items()}
        d = daemon({"backends": [openai(n, u.url, probe_ms=60000) for n, u in ups.items()],
                    "models": [model(n, n, **{"quality": 0.9 - 0.1 * i, **(rows or {}).get(n, {})})
                               for i, n in enumerate(ups)],
                    **({"routes": [{"strategy": "quality_first", "dial": 1.0, **r}
                                   for r in routes]} if routes else {}), **config})
        return d, ups
    return make


def said(r):
    assert r.status_code == 200, r.text
    return r.json()["choices"][0]["message"]["content"]


def records(d, kind, n=1):
    def rows():
        out = [json.loads(x) for f in (d.home / "state" / "journal").glob("*.jsonl")
               for x in f.read_bytes().rpartition(b"\n")[0].splitlines()]
        out = [x for x in out if x["kind"] == kind]
        return out if len(out) >= n else None
    return until(f"{n} records", rows)


LONG = fail(400, "invalid_request_error", "too long", code="context_length_exceeded")
FLAGGED = fail(400, "invalid_request_error", "no", code="content_policy_violation")


def test_a_routes_fallbacks_come_last_and_in_order(fleet):
    d, ups = fleet({"a": fail(500), "b": None, "c": None},
                   [{"name": "auto", "models": ["a"], "fallbacks": ["c", "b"]}])
    r = d.chat("auto")
    assert said(r) == "from c" and r.headers["x-shunt-attempts"] == "2"
    ups["c"].chat = fail(500)
    assert said(d.chat("auto")) == "from b"


def test_a_requests_fallbacks_are_taken_out_of_its_body(fleet):
    d, ups = fleet({"a": fail(500), "b": None, "c": None})
    for i, body in enumerate((
            '{"model":"a","fallbacks":["b"],"messages":[{"role":"user","content":"x"}]}',
            '{"fallbacks" : ["b" ] ,"model":"a","messages":[{"role":"user","content":"x"}]}',
            '{"model":"a","messages":[{"role":"user","content":"x"}] , "fallbacks":["b"]}')):
        r = d.post("/v1/chat/completions", body)
        assert said(r) == "from b" and r.headers["x-shunt-model"] == "b"
        for name in ("a", "b"):
            asked = ups[name].chats()[i].json()
            assert asked == {"model": name, "messages": [{"role": "user", "content": "x"}]}
    assert not ups["c"].chats()


def test_a_requests_fallbacks_replace_its_routes(fleet):
    d, ups = fleet({"a": fail(500), "b": None, "c": None},
                   [{"name": "auto", "models": ["a"], "fallbacks": ["c"]}])
    assert said(d.chat("auto", fallbacks=["b"])) == "from b"


@pytest.mark.parametrize("value,status", [
    (["nobody"], 404), ("b", 400), ([7], 400), ([""], 400), (["b"] * 17, 400)])
def test_bad_fallbacks_are_refused(fleet, value, status):
    d, ups = fleet({"a": None, "b": None})
    r = d.chat("a", fallbacks=value)
    assert r.status_code == status, r.text
    assert "fallbacks" in error_of(r.content)["message"]
    assert not ups["a"].chats()


def test_who_is_down_already_is_passed_over(fleet):
    d, ups = fleet({"a": fail(500), "b": None}, [{"name": "auto", "models": ["a"],
                                                 "fallbacks": ["b"]}])
    for _ in range(8):
        assert said(d.chat("auto")) == "from b"


def test_a_prompt_too_long_goes_to_a_larger_context_only(fleet):
    d, ups = fleet({"a": LONG, "b": None, "c": None},
                   [{"name": "auto", "models": ["a", "b", "c"]}],
                   {"a": {"context_tokens": 8000}, "b": {"context_tokens": 8000},
                    "c": {"context_tokens": 32000}})
    r = d.chat("auto")
    assert said(r) == "from c" and r.headers["x-shunt-attempts"] == "2"
    assert not ups["b"].chats()


def test_a_prompt_too_long_for_all_is_told_so(fleet):
    d, ups = fleet({"a": LONG, "b": None}, [{"name": "auto", "models": ["a", "b"]}],
                   {"a": {"context_tokens": 8000}, "b": {"context_tokens": 4000}})
    r = d.chat("auto")
    assert r.status_code == 400 and error_of(r.content)["code"] == "context_length_exceeded"
    assert not ups["b"].chats()


def test_a_policys_refusal_goes_to_another_model(daemon, upstream):
    ups = [upstream(models=[m], chat=s) for m, s in (
        ("gpt", FLAGGED), ("gpt", answer("the same model")), ("other", answer("from other")))]
    d = daemon({"backends": [openai(f"u{i}", u.url) for i, u in enumerate(ups)],
                "models": [model("gpt", "u0", "u1", quality=0.9), model("other", "u2", quality=0.1)],
                "routes": [{"name": "auto", "models": ["gpt", "other"], "dial": 1.0,
                            "session_ms": 0, "strategy": "quality_first"}]})
    ups[1].chat = FLAGGED
    assert said(d.chat("auto")) == "from other"
    assert len(ups[0].chats()) + len(ups[1].chats()) == 1


def test_the_strong_answers_when_the_weak_are_exhausted(fleet):
    d, ups = fleet({"strong": None, "weak": fail(500), "weaker": fail(503)},
                   [{"name": "auto", "models": ["strong", "weak", "weaker"],
                     "strategy": "cost_first", "dial": 0.0}],
                   {"strong": {"output_usd": 60, "input_usd": 30},
                    "weak": {"output_usd": 0.2, "input_usd": 0.1},
                    "weaker": {"output_usd": 0.1, "input_usd": 0.1}})
    r = d.chat("auto", "hi")
    assert said(r) == "from strong" and r.headers["x-shunt-attempts"] == "3"


def test_attempts_bound_a_chain(fleet):
    d, ups = fleet({"a": fail(500), "b": fail(500), "c": None},
                   [{"name": "auto", "models": ["a"], "fallbacks": ["b", "c"], "attempts": 2}])
    assert d.chat("auto").status_code == 502
    assert not ups["c"].chats()


def test_time_bounds_a_chain(fleet):
    d, ups = fleet({n: lambda x: x.hang() for n in "abc"},
                   [{"name": "auto", "models": ["a"], "fallbacks": ["b", "c"],
                     "first_byte_ms": 300, "request_ms": 700}])
    r = d.chat("auto")
    assert r.status_code == 504 and error_of(r.content)["code"] == "deadline_exceeded"
    assert len(ups["b"].chats()) == 1


def failing_first(n, how):
    """Fails so often, then answers."""
    left, lock = [n], threading.Lock()

    def script(x):
        with lock:
            left[0] -= 1
            bad = left[0] >= 0
        return (how if bad else answer("at last"))(x)
    return script


def test_the_same_deployment_is_tried_again_after_a_pause(fleet):
    d, ups = fleet({"a": failing_first(1, fail(503, headers=[("Retry-After", "0.2")]))},
                   [{"name": "auto", "models": ["a"], "retries": 2}])
    begun = time.monotonic()
    r = d.chat("auto")
    assert said(r) == "at last" and r.headers["x-shunt-attempts"] == "2"
    assert time.monotonic() - begun > 0.04


def test_others_come_before_the_same_again(fleet):
    d, ups = fleet({"a": fail(503), "b": None},
                   [{"name": "auto", "models": ["a", "b"], "retries": 2}])
    assert said(d.chat("auto")) == "from b"
    assert len(ups["a"].chats()) == 1


def test_what_will_not_pass_is_not_tried_again(fleet):
    d, ups = fleet({"a": fail(401)}, [{"name": "auto", "models": ["a"], "retries": 2}])
    assert d.chat("auto").status_code == 502
    assert len(ups["a"].chats()) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_who_asked_for_long_keeps_nobody_from_a_retry(fleet, status):
    """The pause is as long as the others ask for, and after it they are tried, not the first."""
    d, ups = fleet({"a": fail(status, headers=[("Retry-After", "60")]),
                    "b": failing_first(1, fail(503))},
                   [{"name": "auto", "models": ["a", "b"], "retries": 2, "attempts": 6}])
    r = d.chat("auto")
    assert said(r) == "at last" and r.headers["x-shunt-attempts"] == "3"
    assert len(ups["a"].chats()) == 1


def test_what_a_limit_asked_for_is_not_what_a_connect_failure_did(fleet):
    """b's failure has no time of its own; that of a's limit is not taken for it."""
    d, ups = fleet({"a": fail(429, headers=[("Retry-After", "60")]), "b": None},
                   [{"name": "auto", "models": ["a", "b"], "retries": 2, "attempts": 6}],
                   faults=[{"kind": "refuse", "backend": "b", "count": 1}])
    r = d.chat("auto")
    assert said(r) == "from b" and r.headers["x-shunt-attempts"] == "3"
    assert len(ups["a"].chats()) == len(ups["b"].chats()) == 1


def test_a_pause_is_for_all_who_failed(fleet):
    """Not only for the first, that may fail again."""
    d, ups = fleet({"a": lambda x: x.reset(), "b": failing_first(1, fail(503))},
                   [{"name": "auto", "models": ["a", "b"], "retries": 1, "attempts": 9}],
                   breaker={"enabled": False})
    r = d.chat("auto")
    assert said(r) == "at last" and r.headers["x-shunt-attempts"] == "4"
    assert d.counter("retries_total") == 1


def test_who_would_fail_alike_is_not_tried_again(fleet):
    """a's failure would pass, but b has shown that the prompt is too long for it."""
    d, ups = fleet({"a": fail(503), "b": LONG},
                   [{"name": "auto", "models": ["a", "b"], "retries": 1}],
                   {n: {"context_tokens": 8000} for n in "ab"})
    r = d.chat("auto")
    assert r.status_code == 400 and error_of(r.content)["code"] == "context_length_exceeded"
    assert len(ups["a"].chats()) == len(ups["b"].chats()) == 1


def test_what_the_budget_does_not_pay_for_is_not_paused_for_again(fleet):
    d, ups = fleet({"a": fail(503)},
                   [{"name": "auto", "models": ["a"], "retries": 4, "attempts": 9}],
                   breaker={"enabled": False, "retry_share": 0, "retry_burst": 1})
    r = d.chat("auto")
    assert r.status_code == 503 and r.headers["x-shunt-attempts"] == "2"
    assert len(ups["a"].chats()) == 2
    assert d.counter("retries_refused_total") == 1, "asked for once, not after each pause left"
    assert d.counter("retries_total") == 2, "the one paid for, and the one that could not be"


def test_an_error_names_who_was_asked(fleet):
    """Not who would have been next, had the budget of retries allowed it."""
    d, ups = fleet({"a": fail(503), "b": None}, [{"name": "auto", "models": ["a", "b"]}],
                   breaker={"enabled": False, "retry_share": 0, "retry_burst": 0})
    r = d.chat("auto")
    assert r.status_code == 503 and error_of(r.content)["message"].startswith("a: ")
    assert r.headers["x-shunt-backend"] == records(d, "request")[0]["backend"] == "a"
    assert not ups["b"].chats()


def test_who_cools_is_asked_while_another_is_on_its_way(fleet):
    """b's worker is away for long; a may be asked again before it is back."""
    d, ups = fleet({"a": failing_first(1, fail(503, headers=[("Retry-After", "0.4")])), "b": None},
                   [{"name": "auto", "models": ["a", "b"], "attempts": 6}],
                   restart={"delay_ms": 60000, "delay_max_ms": 60000})

    def b():
        return next(w for w in d.status()["workers"] if w["name"] == "b")
    os.kill(b()["pid"], signal.SIGKILL)
    until("it is to be restarted later", lambda: b()["state"] == "backoff")
    r = d.chat("auto")
    assert said(r) == "at last" and r.headers["x-shunt-attempts"] == "2"
    assert not ups["b"].chats()


def slow(seconds, text):
    def script(x):
        if x.wait_gone(seconds / SLOW):
            return None
        return answer(text)(x)
    return script


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_is_started_when_the_first_is_late(fleet, stream):
    d, ups = fleet({"a": lambda x: x.hang(), "b": None},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 150}],
                   {n: {"input_usd": 1.0, "output_usd": 1.0} for n in "ab"})
    begun = time.monotonic()
    if stream:
        r, events = d.stream("auto")
        assert events[-1] == "[DONE]"
    else:
        r = d.chat("auto")
        assert said(r) == "from b"
    assert 0.14 < time.monotonic() - begun < 20 * SLOW
    assert r.headers["x-shunt-backend"] == "b"
    assert ups["a"].chat_exchanges()[0].wait_gone(5), "the loser was not cancelled"
    tries = sorted(records(d, "attempt", 2), key=lambda t: t["n"])
    assert [(t["backend"], t["code"]) for t in tries] == [("a", "client_closed"), ("b", "ok")]
    assert all(t["cost_usd"] > 0 for t in tries)
    whole = records(d, "request")[0]
    assert abs(whole["cost_usd"] - sum(t["cost_usd"] for t in tries)) < 1e-12


def test_the_first_may_still_win(fleet):
    d, ups = fleet({"a": slow(0.5, "from a"), "b": lambda x: x.hang()},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 100}])
    assert said(d.chat("auto")) == "from a"
    assert ups["b"].chat_exchanges()[0].wait_gone(5)


@pytest.mark.parametrize("first,second", [(None, 500), (500, None)])
def test_a_hedge_that_fails_costs_nothing(fleet, first, second):
    def script(status, name):
        if status is None:
            return slow(0.6, f"from {name}")
        return lambda x: (x.wait_gone(0.3 / SLOW), fail(status)(x))
    d, ups = fleet({"a": script(first, "a"), "b": script(second, "b")},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 100}])
    r = d.chat("auto")
    assert said(r) == ("from a" if first is None else "from b")
    assert len(ups["a"].chats()) == len(ups["b"].chats()) == 1


def test_who_is_quick_is_not_hedged(fleet):
    d, ups = fleet({"a": None, "b": None},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 5000}])
    assert said(d.chat("auto")) == "from a" and not ups["b"].chats()


def test_a_failure_before_the_hedge_is_due_leaves_one_timer(fleet):
    """Each attempt sets the time of its hedge anew, also where the one before never came."""
    d, _ = fleet({"a": lambda x: fail(500)(x), "b": slow(0.05, "from b")},
                 [{"name": "auto", "models": ["a", "b"], "hedge_ms": 1500}], breaker={"enabled": False})
    before = [w.pid for w in d.workers("gateway")]
    for _ in range(8):
        assert said(d.chat("auto")) == "from b"
    assert [w.pid for w in d.workers("gateway")] == before


def test_who_lost_the_race_is_there_when_the_winner_breaks(fleet):
    def breaks(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": "half of "}))
        x.cut()
    calls = []

    def late(x):
        calls.append(x)
        return x.hang() if len(calls) == 1 else answer("from a")(x)
    d, ups = fleet({"a": late, "b": breaks},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 100, "mid_stream": "restart"}])
    _, events = d.stream("auto")
    assert events[-1] == "[DONE]", events
    assert "".join(c["delta"].get("content") or "" for e in events[:-1]
                   for c in json.loads(e)["choices"]).rstrip().endswith("from a")
    assert len(ups["a"].chats()) == 2


def test_hedges_leave_retries_for_what_fails(fleet):
    d, ups = fleet({"a": lambda x: x.hang(), "b": None},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 20, "first_byte_ms": 1500}],
                   breaker={"enabled": False, "retry_share": 0, "retry_burst": 3})
    for _ in range(5):
        assert said(d.chat("auto")) == "from b", "after its hedge, or after its deadline"
    hedges = re.search(r"^shunt_hedges_total.* (\d+)$", d.get("/metrics").text, re.M)
    assert hedges.group(1) == "3"
    ups["a"].chat = fail(500)
    assert said(d.chat("auto")) == "from b"


def test_of_two_who_asked_for_a_pause_is_asked_again(fleet):
    """Also when it is the hedge that asked, and the first fails for good."""
    def late(x):
        until("the hedge was asked", lambda: ups["b"].chats())
        return None if x.wait_gone(0.5 / SLOW) else fail(500)(x)
    d, ups = fleet({"a": late, "b": failing_first(1, fail(429, headers=[("Retry-After", "0.2")]))},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 100}])
    r = d.chat("auto")
    assert said(r) == "at last" and r.headers["x-shunt-attempts"] == "3"
    assert len(ups["a"].chats()) == 1


def test_of_two_whose_worker_died_is_asked_again(fleet):
    """Its death was no fault of the deployment, hedged or not."""
    calls, back = [], threading.Event()

    def dies(x):
        calls.append(x)
        return x.hang() if len(calls) == 1 else answer("from b")(x)

    def fails_later(x):
        return fail(500)(x) if back.wait(20 * SLOW) else None
    d, ups = fleet({"a": fails_later, "b": dies},
                   [{"name": "auto", "models": ["a", "b"], "hedge_ms": 100}])
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(d.chat, "auto")
        ups["b"].wait_chats(1)
        pid = next(w["pid"] for w in d.status()["workers"] if w["name"] == "b")
        old = next(w for w in d.workers("backend") if w.pid == pid)
        os.kill(pid, signal.SIGKILL)
        d.wait_worker(old)
        d.wait_ready()
        back.set()
        assert said(request.result()) == "from b"
    assert (len(ups["a"].chats()), len(ups["b"].chats())) == (1, 2)
