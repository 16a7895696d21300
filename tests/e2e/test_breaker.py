# SPDX-License-Identifier: Apache-2.0
"""A deployment that fails is left alone, by all gateways, until one trial shows it well again."""
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
from harness.upstream import answer, fail
from harness.wait import until


def row(d, name):
    return next(b for b in d.status()["backends"] if b["name"] == name)


@pytest.fixture
def cluster(daemon, upstream):
    """A model on one upstream per script, named a, b, c, ...; probes stay out of it."""
    def make(*scripts, strategy="least_loaded", breaker=None, **config):
        ups = [upstream(chat=s) for s in scripts]
        names = "abcdefgh"[:len(ups)]
        d = daemon({"backends": [openai(n, u.url, probe_ms=60000) for n, u in zip(names, ups)],
                    "models": [model("m", *names)],
                    "routes": [{"name": "auto", "models": ["m"], "strategy": strategy}],
                    "breaker": breaker or {}, **config})
        return d, *ups
    return make


def many(d, n, threads=4, name="auto"):
    """Status, backend and attempts of n requests, over so many connections."""
    body = {"model": name, "messages": [{"role": "user", "content": "Hello there."}]}
    with d.client() as client, ThreadPoolExecutor(threads) as pool:
        def one(_):
            r = client.post("/v1/chat/completions", json=body)
            return (r.status_code, r.headers.get("x-shunt-backend"),
                    int(r.headers["x-shunt-attempts"]))
        return list(pool.map(one, range(n)))


@pytest.mark.parametrize("strategy", ["least_loaded", "balanced"])
def test_a_fast_failer_is_not_favoured_for_being_idle(cluster, strategy):
    """Its score falls with the first failures, before there are enough to open its breaker."""
    d, bad, b, c = cluster(fail(500), answer(), answer(), strategy=strategy,
                           breaker={"open_ms": "60s"})
    results = many(d, 200)
    assert {s for s, _, _ in results} == {200}
    assert len(bad.chats()) <= 5 + 4, "the window's minimum, and what was under way"


def test_a_fast_failer_among_equals_is_left_alone(cluster):
    d, bad, b, c = cluster(fail(500), answer(), answer(), strategy="round_robin",
                           breaker={"open_ms": "60s"})
    first = many(d, 40)
    assert {s for s, _, _ in first} == {200}
    until("its breaker is open", lambda: row(d, "a")["breaker"] == "open")
    seen = len(bad.chats())
    assert seen <= 5 + 8, "more than the window's minimum and what was under way"
    rest = many(d, 200)
    assert {s for s, _, _ in rest} == {200}
    assert len(bad.chats()) == seen, "an open breaker lets nothing through"
    assert sum(n > 1 for _, _, n in rest) == 0, "nobody sees a failure once it is open"
    assert min(len(b.chats()), len(c.chats())) > 30, "the others share the load"
    why = row(d, "a")
    assert "upstream_error" in why["why"] and why["health"] == "up"
    assert [e for e in d.events("breaker_open") if "backend=a" in e[3]]


@pytest.mark.parametrize("strategy", ["least_loaded", "round_robin"])
def test_one_trial_at_a_time_over_all_gateways(cluster, strategy):
    """While it is half-open, one call is there and no other, whoever asks."""
    inside, most, lock, release = [0], [0], threading.Lock(), threading.Event()
    mode = ["fail"]

    def script(x):
        if mode[0] == "fail":
            return fail(500)(x)
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        if mode[0] == "trial":
            release.wait(10)
        with lock:
            inside[0] -= 1
        return answer()(x)
    # Open after one failure: on a slow machine the first would move a behind b before there are more.
    d, bad, good = cluster(script, answer(), breaker={"open_ms": "300ms", "min_calls": 1},
                           gateways=2, strategy=strategy)
    until("its breaker is open", lambda: (many(d, 8), row(d, "a")["breaker"] == "open")[1])
    mode[0] = "trial"
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(lambda: [many(d, 60, 8) for _ in iter(release.is_set, True)])
        try:
            until("a trial is under way", lambda: inside[0] == 1)
            before = len(bad.chats())
            until("it is half-open", lambda: row(d, "a")["breaker"] == "half-open")
            until("others are answered meanwhile", lambda: len(good.chats()) > 60)
            assert (len(bad.chats()), most[0]) == (before, 1)
            mode[0] = "well"
        finally:
            release.set()
        assert {s for part in load.result() for s, _, _ in part} == {200}
    until("it is closed", lambda: (many(d, 4), row(d, "a")["breaker"] == "closed")[1])
    until("it serves again", lambda: (many(d, 8), len(bad.chats()) > before + 1)[1])


def test_a_failed_trial_doubles_the_cooldown(cluster):
    d, bad, good = cluster(fail(500), answer(), breaker={"open_ms": "200ms", "min_calls": 1})

    def opened():
        many(d, 4)
        return len(d.events("breaker_open")) >= 3
    until("two trials failed", opened)
    seen = [e[3] for e in d.events("breaker_open")]
    assert [s.split("for_ms=")[1].split()[0][0] for s in seen[:3]] in (
        ["2", "4", "8"], ["1", "3", "7"], ["2", "3", "7"], ["1", "4", "8"], ["2", "4", "7"],
        ["1", "3", "8"], ["1", "4", "7"], ["2", "3", "8"]), seen


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_asked_for_is_honoured(cluster, status):
    d, limited, other = cluster(fail(status, headers=[("Retry-After", "60")]), answer(),
                                strategy="round_robin")
    assert {s for s, _, _ in many(d, 20)} == {200}
    assert 1 <= len(limited.chats()) <= 4, "once, and what was under way with it"
    seen = len(limited.chats())
    many(d, 40)
    assert len(limited.chats()) == seen
    deployments = d.status()["models"][0]["deployments"]
    assert 50000 < next(x for x in deployments if x["backend"] == "a")["cooling_ms"] <= 60000


def test_limits_that_are_not_spent_ask_for_no_pause(cluster):
    """OpenAI tells them with every answer, whatever its status."""
    d, only = cluster(fail(503, headers=[
        ("x-ratelimit-remaining-requests", "59"), ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-remaining-tokens", "149984"), ("x-ratelimit-reset-tokens", "6m0s")]))
    r = d.chat("m")
    assert r.status_code == 503, r.text
    assert int(r.headers.get("retry-after", 0)) < 60
    only.chat = answer()
    until("it is asked again", lambda: d.chat("m").status_code == 200)


def test_a_limit_without_a_time_has_a_floor(cluster):
    d, limited, other = cluster(fail(429), answer(), breaker={"open_ms": "60s"})
    many(d, 20)
    assert len(limited.chats()) <= 4
    assert row(d, "a")["breaker"] == "open"


def test_a_request_waits_where_all_are_cooling(cluster):
    times = []

    def script(x):
        times.append(time.monotonic())
        if len(times) == 1:
            return fail(429, "rate_limit_error", headers=[("Retry-After", "1")])(x)
        return answer()(x)
    d, only = cluster(script)
    r = d.chat("m")
    assert r.status_code == 200, r.text
    assert len(times) == 2 and times[1] - times[0] >= 0.9
    r = d.chat("m")
    assert r.status_code == 200 and len(times) == 3


def test_others_wait_for_it_too(cluster):
    limited = threading.Event()

    def script(x):
        if not limited.is_set():
            limited.set()
            return fail(429, "rate_limit_error", headers=[("Retry-After", "1")])(x)
        return answer()(x)
    d, only = cluster(script)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(d.chat, "m")
        until("it is limited", lambda: row(d, "a")["breaker"] == "open")
        assert {s for s, _, _ in many(d, 8, 8, "m")} == {200}
        assert first.result().status_code == 200
    assert len(only.chats()) == 10


def test_nobody_waits_for_longer_than_allowed(cluster):
    d, only = cluster(fail(429, "rate_limit_error", headers=[("Retry-After", "30")]))
    r = d.chat("m")
    assert r.status_code == 429 and r.headers["retry-after"] == "30"
    r = d.chat("m")
    assert r.status_code == 503 and error_of(r.content)["message"], r.text
    assert 1 <= int(r.headers["retry-after"]) <= 30, "refused before it could be met"
    waited = re.findall(r"^shunt_requests_waited_total.* (\d+)$", d.get("/metrics").text, re.M)
    assert not any(int(w) for w in waited), "refused at once"
    assert len(only.chats()) == 1


def test_retries_are_a_share_of_the_requests(cluster):
    d, *ups = cluster(fail(500), fail(500), fail(500), gateways=1, breaker={
        "min_calls": 128, "retry_share": 0.25, "retry_burst": 3})
    results = many(d, 40, 1, "m")
    assert {s for s, _, _ in results} == {502}
    asked = sum(len(u.chats()) for u in ups)
    assert 40 + 3 <= asked <= 40 + 3 + 10 + 1


def test_what_a_client_did_wrong_opens_nothing(cluster):
    d, only = cluster(fail(400, "invalid_request_error", "bad tool"))
    assert {s for s, _, _ in many(d, 20, name="m")} == {400}
    assert row(d, "a")["breaker"] == "closed"


def test_a_restarted_worker_keeps_its_breaker(cluster):
    d, bad, good = cluster(fail(500), answer(), breaker={"open_ms": "60s"})
    until("its breaker is open", lambda: (many(d, 8), row(d, "a")["breaker"] == "open")[1])
    seen = len(bad.chats())
    pid = next(w["pid"] for w in d.status()["workers"] if w["name"] == "a")
    old = next(w for w in d.workers("backend") if w.pid == pid)
    os.kill(old.pid, signal.SIGKILL)
    d.wait_worker(old)
    d.wait_ready()
    assert {s for s, _, _ in many(d, 20)} == {200}
    assert row(d, "a")["breaker"] == "open" and len(bad.chats()) == seen


def test_it_can_be_switched_off(cluster):
    d, bad = cluster(fail(500), breaker={"enabled": False, "retry_burst": 0})
    many(d, 20, name="m")
    assert len(bad.chats()) == 20 and row(d, "a")["breaker"] == "closed"
