# SPDX-License-Identifier: Apache-2.0
"""The decision: POST /v1/route, `shunt route`, rules, filters, strategies, as clients see them."""
import json
import os
import subprocess

import pytest
from harness.daemon import Daemon, model, sim
from harness.http import error_of
from harness.paths import BUILD, ROOT
from test_openai_python import PIXEL, TOOLS


@pytest.fixture(scope="module")
def served():
    d = Daemon({
        "backends": [sim("s", models=["small", "big", "seer"])],
        "models": [
            model("small", "s", quality=0.3, input_usd=0.1, output_usd=0.4, context_tokens=2000,
                  tools="no", vision="no", json="yes"),
            model("big", "s", quality=0.95, input_usd=5, output_usd=20, context_tokens=100000,
                  tools="yes", vision="no", json="yes"),
            model("seer", "s", quality=0.6, input_usd=1, output_usd=2, context_tokens=32000,
                  tools="yes", vision="yes", json="yes")],
        "routes": [{"name": "auto", "models": ["small", "big", "seer"]},
                   {"name": "cheap", "models": ["small", "big", "seer"], "strategy": "cost_first"},
                   {"name": "best", "models": ["small", "big", "seer"],
                    "strategy": "quality_first"},
                   {"name": "rr", "models": ["small", "big"], "strategy": "round_robin"},
                   {"name": "blind", "models": ["small", "big"]}],
        "rules": [{"name": "action", "words": ["open", "turn on", "plan*"], "model": "small",
                   "priority": 5, "except": ["open question"], "routes": ["auto"]},
                  {"name": "vision", "on_image": True, "model": "seer", "priority": 9,
                   "routes": ["auto", "cheap"]}],
    })
    yield d
    d.stop()


def decide(d, text="Hello", model_name="auto", **more):
    r = d.post("/v1/route", {"model": model_name, "messages": [{"role": "user", "content": text}],
                             **more})
    assert r.status_code == 200, r.text
    return r.json()


def test_the_explanation_has_its_documented_keys(served):
    e = decide(served)
    for key in ("route", "model", "backend", "reason", "phase", "score", "terms", "candidates",
                "decision_us"):
        assert key in e, e
    assert e["route"] == "auto" and e["model"] in ("small", "big", "seer")
    assert isinstance(e["candidates"], list) and len(e["candidates"]) == 3
    assert all(isinstance(v, (int, float, dict)) for v in e["terms"].values())


def test_nothing_is_called_for_a_decision(served):
    before = counter(served, "shunt_upstream_calls_total")
    decide(served)
    assert counter(served, "shunt_upstream_calls_total") == before


def counter(d, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in d.get("/metrics").text.splitlines()
               if line.startswith(name + "{") or line.startswith(name + " "))


def test_the_decision_is_the_one_that_is_used(served):
    for text in ("Hello", "Prove that there are infinitely many primes, step by step."):
        assert decide(served, text)["model"] == served.chat("auto", text).headers["x-shunt-model"]


@pytest.mark.parametrize("text,fires", [
    ("open the door", True), ("Please TURN ON the lamp!", True), ("planning for May", True),
    ("opening hours?", False), ("reopen it", False), ("an open question remains", False),
    ("turn it on", False), ("explanation", False),
])
def test_word_rules_match_whole_words_only(served, text, fires):
    e = decide(served, text)
    assert (e["phase"] == "rule") == fires, e["reason"]
    if fires:
        assert e["model"] == "small" and "action" in e["reason"]


def test_an_image_goes_to_a_model_that_sees(served):
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    assert decide(served, content)["model"] == "seer"


def test_an_image_with_no_model_that_sees_is_told(served):
    content = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    r = served.post("/v1/chat/completions", {
        "model": "blind", "messages": [{"role": "user", "content": content}]})
    assert r.status_code == 400
    assert "vision" in error_of(r.content)["message"]


def test_tools_never_go_to_a_model_without_them(served):
    assert decide(served, "open it", "cheap", tools=TOOLS)["model"] != "small"


def test_a_long_prompt_never_goes_to_a_small_context(served):
    assert decide(served, "word " * 40000, "cheap")["model"] == "big"


def test_strategies_differ(served):
    assert decide(served, "Hi", "cheap")["model"] == "small"
    assert decide(served, "Prove Fermat's last theorem rigorously.", "best")["model"] == "big"


def test_round_robin_takes_turns(served):
    seen = [served.chat("rr").headers["x-shunt-model"] for _ in range(8)]
    assert set(seen) == {"small", "big"}


def test_turns_of_a_route_are_its_own(served):
    """A client that asks one route and then another, again and again, still gets every model."""
    seen = []
    for _ in range(8):
        seen.append(served.chat("rr").headers["x-shunt-model"])
        served.chat("best")
    assert seen.count("small") == seen.count("big") == 4, seen


def test_the_command_line_gives_the_same_decision(served):
    done = subprocess.run(
        [BUILD / "shunt", "route", "--route", "auto", "--json", "open the door"], cwd=ROOT,
        capture_output=True, text=True, timeout=20,
        env={**os.environ, "SHUNT_SOCKET": served.socket_path})
    assert done.returncode == 0, done.stderr
    e = json.loads(done.stdout)
    assert (e["model"], e["phase"]) == ("small", "rule")


def test_status_lists_workers_backends_and_models(served):
    s = served.status()
    assert {"version", "uptime_s", "workers", "backends", "models"} <= set(s)
    pids = {w.pid for w in served.workers()}
    assert {w["pid"] for w in s["workers"]} == pids
    for w in s["workers"]:
        assert {"role", "name", "slot", "pid", "generation", "state", "restarts",
                "heartbeat_age_ms", "rss_kb", "pss_kb"} <= set(w)
        assert w["state"] == "ready"
    assert [b["name"] for b in s["backends"]] == ["s"]
    assert {"kind", "state", "breaker", "in_flight", "ok", "failed", "ewma_ms"} <= set(
        s["backends"][0])
