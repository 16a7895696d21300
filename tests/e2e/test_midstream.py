# SPDX-License-Identifier: Apache-2.0
"""Streams that break after their first byte: restart, continue, hold; one coherent stream, and
everything that was spent is accounted for."""
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.daemon import model, openai, sim
from harness.upstream import answer, chunk, fail
from harness.wait import until

SIM = {"seed": 7, "models": ["m"], "tokens": 40}


def parse(events):
    """(text as a client that knows the events has it, chunks, marks)."""
    chunks = [json.loads(e) for e in events if e != "[DONE]"]
    text, marks = "", []
    for c in chunks:
        if "x_shunt" in c:
            marks.append(c["x_shunt"])
            assert c["x_shunt"]["text_bytes"] == len(text.encode())
            if c["x_shunt"]["event"] == "restart":
                text = ""
        for choice in c.get("choices", []):
            text += choice.get("delta", {}).get("content") or choice.get("text") or ""
    return text, chunks, marks


def coherent(events):
    """One stream: one id, one role, one finish, one [DONE]."""
    text, chunks, marks = parse(events)
    assert events.count("[DONE]") == 1 and events[-1] == "[DONE]", events[-3:]
    assert not any("error" in c for c in chunks), chunks[-1]
    for name in ("id", "created", "model", "object"):
        assert len({c[name] for c in chunks}) == 1, name
    choices = [x for c in chunks for x in c["choices"]]
    assert sum("role" in x.get("delta", {}) for x in choices) <= 1
    assert sum(x.get("finish_reason") is not None for x in choices) == 1
    return text, chunks, marks


def route(policy, *models, **more):
    """Tries the models in this order; equal ones take turns."""
    return {"name": "auto", "models": list(models), "strategy": "quality_first", "dial": 1.0,
            "session_ms": 0, "mid_stream": policy, **more}


@pytest.fixture
def sims(daemon):
    """Two equal simulated models; what fails is what the test sets."""
    def make(policy, faults=None, **settings):
        rows = [sim(n, **{**SIM, **settings}) for n in ("first", "second")]
        return daemon({"backends": rows, "models": [model("m", "first", "second")],
                       "routes": [{"name": "auto", "models": ["m"], "strategy": "round_robin",
                                   "mid_stream": policy}],
                       **({"faults": faults} if faults else {})})
    return make


@pytest.fixture
def pair(daemon, upstream):
    """`first` breaks as scripted, then `second` answers."""
    def make(script, policy, second=None, backend=None, **more):
        a, b = upstream(models=["a"], chat=script), upstream(models=["b"], chat=second or answer(
            "from the second"))
        d = daemon({
            "backends": [openai("first", a.url, **(backend or {})),
                         openai("second", b.url, **(backend or {}))],
            "models": [model("a", "first", quality=0.9, input_usd=1.0, output_usd=2.0),
                       model("b", "second", quality=0.2, input_usd=1.0, output_usd=2.0)],
            "routes": [route(policy, "a", "b", **more)]})
        return d, a, b
    return make


def half(x):
    x.begin_stream()
    x.event(chunk({"role": "assistant", "content": "half of "}))
    x.event(chunk({"content": "it "}))


ENDS = {"cut": lambda x: (half(x), x.cut()), "reset": lambda x: (half(x), x.reset()),
        "garbage": lambda x: (half(x), x.event("{oops"), x.end_stream()),
        "error event": lambda x: (half(x), x.event({"error": {"message": "boom", "type": "x"}}),
                                  x.end_stream()),
        "no finish": lambda x: (half(x), x.end_stream())}


@pytest.mark.parametrize("policy", ["continue", "restart"])
def test_streams_cut_midway_come_out_byte_for_byte(sims, policy):
    """Each eighth stream of one of two equal backends is cut."""
    d = sims(policy, [{"kind": "cut", "backend": "first", "tokens": 17, "every": 8}])
    expected = {}

    def one(i):
        text = f"Question {i % 8}"
        with client.stream("POST", "/v1/chat/completions", json={
                "model": "auto", "stream": True, "max_tokens": 33,
                "stream_options": {"include_usage": True},
                "messages": [{"role": "user", "content": text}]}) as r:
            return text, [x[6:] for x in r.iter_lines() if x.startswith("data: ")]

    for i in range(8):  # the same model, asked for a whole answer
        expected[f"Question {i}"] = d.chat("auto", f"Question {i}", max_tokens=33).json()[
            "choices"][0]["message"]["content"]
    marks = 0
    with d.client() as client, ThreadPoolExecutor(8) as pool:
        for text, events in pool.map(one, range(120)):
            got, chunks, seen = coherent(events)
            assert got == expected[text]
            assert {m["event"] for m in seen} <= {policy}
            usage = chunks[-1]["usage"]
            assert usage["completion_tokens"] >= 33
            marks += len(seen)
    assert marks >= 3, "hardly a stream was cut: the test shows nothing"
    assert not d.events("stream_broken")


@pytest.mark.parametrize("policy", ["continue", "restart"])
def test_a_backend_that_dies_midway_is_replaced(sims, policy):
    d = sims(policy, tokens_per_s=80)
    want = d.chat("m", "Die.").json()["choices"][0]["message"]["content"]
    pids = {w["name"]: w["pid"] for w in d.status()["workers"]}
    events, name = [], None
    with d.client() as c, c.stream("POST", "/v1/chat/completions", json={
            "model": "auto", "stream": True,
            "messages": [{"role": "user", "content": "Die."}]}) as r:
        for line in r.iter_lines():
            if line.startswith("data: "):
                events.append(line[6:])
            if len(events) == 5 and name is None:
                name = r.headers["x-shunt-backend"]
                os.kill(pids[name], signal.SIGKILL)
    text, _, marks = coherent(events)
    assert text == want and [m["event"] for m in marks] == [policy]


@pytest.mark.parametrize("how", ENDS)
def test_restart_says_so_and_begins_anew(pair, how):
    d, a, b = pair(ENDS[how], "restart")
    r, events = d.stream("auto")
    text, chunks, marks = coherent(events)
    assert text.strip() == "from the second"
    assert [m["event"] for m in marks] == ["restart"]
    assert marks[0]["backend"] == "second" and marks[0]["attempt"] == 2
    assert b.chats()[0].json()["messages"] == a.chats()[0].json()["messages"]


def test_continue_gives_the_next_what_there_is(pair):
    d, a, b = pair(ENDS["cut"], "continue", backend={"prefill": "assistant"},
                   second=answer("and the rest"))
    r, events = d.stream("auto", max_tokens=50)
    text, chunks, marks = coherent(events)
    assert text.strip() == "half of it and the rest"
    assert [m["event"] for m in marks] == ["continue"]
    asked = b.chats()[0].json()
    assert asked["messages"][-1] == {"role": "assistant", "content": "half of it"}
    assert asked["max_tokens"] == 48 and asked["model"] == "b"


def test_a_server_without_prefill_is_told_to_go_on(pair):
    d, a, b = pair(ENDS["cut"], "continue")
    coherent(d.stream("auto")[1])
    roles = [m["role"] for m in b.chats()[0].json()["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_vllm_is_told_its_own_way(pair):
    d, a, b = pair(ENDS["cut"], "continue", backend={"prefill": "vllm"})
    coherent(d.stream("auto")[1])
    asked = b.chats()[0].json()
    assert asked["continue_final_message"] is True and asked["add_generation_prompt"] is False
    assert asked["messages"][-1]["role"] == "assistant"


def test_white_space_at_the_seam_is_there_once(pair):
    d, a, b = pair(ENDS["cut"], "continue", second=answer(" and on"),
                   backend={"prefill": "assistant"})
    assert parse(d.stream("auto")[1])[0].startswith("half of it and on")


@pytest.mark.parametrize("more", [
    {"response_format": {"type": "json_object"}}, {"n": 2}, {"logprobs": True}])
def test_what_can_not_be_glued_is_restarted(pair, more):
    d, a, b = pair(ENDS["cut"], "continue")
    text, _, marks = coherent(d.stream("auto", **more)[1])
    assert [m["event"] for m in marks] == ["restart"]
    assert text.strip() == "from the second"


def call(arguments, **more):
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **more}]})


def test_a_tool_call_is_never_glued(pair):
    def broken(x):
        half(x)
        x.event(chunk({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {
            "name": "f", "arguments": ""}}]}))
        x.event(call('{"a": 1'))
        x.cut()
    d, a, b = pair(broken, "continue")
    r, events = d.stream("auto", tools=[{"type": "function", "function": {"name": "f"}}])
    text, chunks, marks = coherent(events)
    assert not any(x["delta"].get("tool_calls") for c in chunks for x in c["choices"])
    # where all of it came in one piece, the client has seen nothing that would have to be taken back
    assert {m["event"] for m in marks} <= {"restart"}
    assert text.strip() == "from the second"


def test_a_whole_tool_call_comes_through(pair):
    def calls(x):
        x.begin_stream()
        x.event(chunk({"role": "assistant", "content": None, "tool_calls": [
            {"index": 0, "id": "c", "type": "function",
             "function": {"name": "f", "arguments": '{"a"'}}]}))
        x.event(call(": 1}"))
        x.event(chunk({}, "tool_calls"))
        x.event("[DONE]")
        x.end_stream()
    d, a, b = pair(calls, "continue")
    r, events = d.stream("auto", tools=[{"type": "function", "function": {"name": "f"}}])
    _, chunks, marks = coherent(events)
    said = "".join(t["function"]["arguments"] for c in chunks for x in c["choices"]
                   for t in x["delta"].get("tool_calls", []))
    assert json.loads(said) == {"a": 1} and not marks


def test_a_stall_counts_as_cut(pair):
    d, a, b = pair(lambda x: (half(x), x.hang()), "restart", backend={"stall_ms": 300})
    text, _, marks = coherent(d.stream("auto")[1])
    assert text.strip() == "from the second" and marks[0]["code"] == "upstream_timeout"


def test_what_is_held_is_replaced_unseen(pair):
    d, a, b = pair(ENDS["cut"], "error", hold=5)
    r, events = d.stream("auto")
    text, _, marks = coherent(events)
    assert text.strip() == "from the second" and not marks
    assert r.headers["x-shunt-backend"] == "second"


def test_error_stays_an_error(pair):
    d, a, b = pair(ENDS["cut"], "error")
    r, events = d.stream("auto")
    assert "error" in json.loads(events[-1]) and not b.chats()


def test_without_anybody_left_it_ends_by_an_error(pair):
    d, a, b = pair(ENDS["cut"], "continue", second=ENDS["cut"])
    r, events = d.stream("auto")
    assert "error" in json.loads(events[-1]) and len(b.chats()) == 1


def test_a_finished_answer_needs_no_other(pair):
    d, a, b = pair(lambda x: (half(x), x.event(chunk({}, "stop")), x.reset()), "continue")
    text, _, marks = coherent(d.stream("auto")[1])
    assert text == "half of it " and not marks and not b.chats()


def test_all_attempts_are_accounted(pair):
    d, a, b = pair(ENDS["cut"], "restart")
    r, events = d.stream("auto", stream_options={"include_usage": True})
    usage = json.loads(events[-2])["usage"]
    assert usage["completion_tokens"] == 2 + 2 and usage["prompt_tokens"] > 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    log = d.home / "state" / "journal"

    def rows(kind):
        found = [json.loads(x) for f in log.glob("*.jsonl") for x in f.read_text().splitlines()]
        return [x for x in found if x["kind"] == kind]
    whole = until("the record", lambda: rows("request"))[0]
    tries = rows("attempt")
    assert [t["code"] for t in tries] == ["upstream_cut", "ok"]
    assert whole["completion_tokens"] == sum(t["completion_tokens"] for t in tries) == 4
    assert abs(whole["cost_usd"] - sum(t["cost_usd"] for t in tries)) < 1e-12 < whole["cost_usd"]
    assert "shunt_streams_restarted_total" in d.get("/metrics").text


@pytest.mark.parametrize("policy,name", [("continue", "streams_continued_total"),
                                         ("restart", "streams_restarted_total")])
def test_only_what_went_on_is_counted(pair, policy, name):
    """A stream that another was asked for, but never came, is broken and nothing else."""
    d, a, b = pair(ENDS["cut"], policy, second=fail(500))
    _, events = d.stream("auto")
    assert "error" in json.loads(events[-1]) and len(b.chats()) == 1
    assert (d.counter(name), d.counter("streams_broken_total")) == (0, 1)
    b.chat = answer("from the second")
    coherent(d.stream("auto")[1])
    assert (d.counter(name), d.counter("streams_broken_total")) == (1, 1)


def test_completions_too(sims):
    d = sims("continue", [{"kind": "cut", "backend": "first", "tokens": 9, "every": 1}])
    with d.client() as c:
        want = c.post("/v1/completions", json={"model": "auto", "prompt": "Once"}).json()[
            "choices"][0]["text"]
        marks = 0
        for _ in range(4):
            with c.stream("POST", "/v1/completions", json={
                    "model": "auto", "prompt": "Once", "stream": True}) as r:
                events = [x[6:] for x in r.iter_lines() if x.startswith("data: ")]
            text, _, seen = coherent(events)
            assert text == want
            marks += len(seen)
    assert marks
