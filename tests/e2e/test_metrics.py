# SPDX-License-Identifier: Apache-2.0
"""/metrics: Prometheus text that lists exactly the rows of shm/counter_list.h."""
import os
import re
import signal

import pytest
from harness.daemon import model, openai, sim
from harness.http import Raw, chat_bytes, simple_chat
from harness.paths import ROOT
from harness.upstream import fail
from harness.wait import until

ROW = re.compile(r'^COUNTER\((\w+), (counter|gauge), (\w+), "([^"]*)"\)', re.M)
SAMPLE = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (-?[0-9.e+]+|NaN)$')


def declared():
    rows = ROW.findall((ROOT / "shm/counter_list.h").read_text())
    return {"shunt_" + metric: (kind, text) for _, kind, metric, text in rows}


def parsed(text):
    """metric -> (type, help, [(labels, value)])."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, text = line.split(" ", 3)
            found.setdefault(name, [None, None, []])[1] = text
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            found.setdefault(name, [None, None, []])[0] = kind
        elif line:
            m = SAMPLE.match(line)
            assert m, f"no sample: {line!r}"
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(2) or ""))
            found.setdefault(m.group(1), [None, None, []])[2].append((labels, float(m.group(3))))
    return found


@pytest.fixture
def served(daemon):
    return daemon({"backends": [sim("s", models=["small"])]})


def test_exactly_the_counter_rows_are_listed(served):
    served.chat("small")
    r = served.get("/metrics")
    assert r.headers["content-type"].startswith("text/plain")
    found = parsed(r.text)
    rows = declared()
    own = {n for n in found if n in rows}
    assert own == set(rows), f"missing {sorted(set(rows) - own)}"
    assert {n for n in found if n.startswith("shunt_")} == set(rows)
    for name, (kind, text) in rows.items():
        assert found[name][0] == kind, name
        assert found[name][1] == text, name


def total(d, name):
    return sum(v for _, v in parsed(d.get("/metrics").text)["shunt_" + name][2])


def test_requests_and_tokens_are_counted(served):
    before = total(served, "requests_total"), total(served, "completion_tokens_total")
    for _ in range(3):
        served.chat("small")
    served.stream("small")
    assert total(served, "requests_total") >= before[0] + 4
    assert total(served, "completion_tokens_total") >= before[1] + 4
    assert total(served, "upstream_ok_total") >= 4
    assert total(served, "requests_in_flight") == 0


def test_errors_are_counted(served):
    before = total(served, "responses_4xx_total")
    served.chat("nobody")
    served.post("/v1/chat/completions", b"{")
    assert total(served, "responses_4xx_total") == before + 2


def test_counters_survive_the_death_of_their_worker(served):
    served.chat("small")
    before = total(served, "upstream_ok_total")
    assert before >= 1
    old = served.workers("backend")[0]
    served.allow("died", "killed")
    os.kill(old.pid, signal.SIGKILL)
    served.wait_worker(old)
    assert total(served, "upstream_ok_total") >= before


def test_a_failure_that_nothing_follows_is_no_cascade(daemon, upstream):
    bad, good = upstream(models=["a"], chat=fail(500)), upstream(models=["b"])
    d = daemon({"backends": [openai("bad", bad.url), openai("good", good.url)],
                "models": [model("a", "bad", quality=0.9), model("b", "good", quality=0.2)],
                "routes": [{"name": "both", "models": ["a", "b"], "dial": 1.0}]})
    assert d.chat("a").status_code >= 500
    assert total(d, "cascades_total") == 0
    assert d.chat("both").headers["x-shunt-attempts"] == "2"
    assert total(d, "cascades_total") == 1


def test_a_dead_worker_has_nothing_in_flight(daemon):
    d = daemon({"backends": [sim("s", models=["small"], tokens_per_s=10, tokens=300)],
                "restart": {"delay_ms": 60000, "delay_max_ms": 60000}})
    d.allow("died")
    with Raw(d) as raw:
        raw.send(chat_bytes(simple_chat("small", stream=True)))
        assert raw.read_head()[0] == 200
        assert total(d, "upstream_in_flight") == 1
        os.kill(d.workers("backend")[0].pid, signal.SIGKILL)
        until("it waits to be started again",
              lambda: "backoff" in {w["state"] for w in d.status()["workers"]})
        assert total(d, "upstream_in_flight") == 0
        assert d.status()["backends"][0]["in_flight"] == 0
