# SPDX-License-Identifier: Apache-2.0
"""/metrics: Prometheus text that lists exactly the rows of shm/counter_list.h."""
import re

import pytest
from harness.daemon import sim
from harness.paths import ROOT

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
    import os
    import signal
    served.allow("died", "killed")
    os.kill(old.pid, signal.SIGKILL)
    served.wait_worker(old)
    assert total(served, "upstream_ok_total") >= before
