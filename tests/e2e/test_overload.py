# SPDX-License-Identifier: Apache-2.0
"""More requests than places: they wait in order, by user and priority, and who can't be served is told."""
import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from harness.daemon import model, openai, sim
from harness.http import Raw, error_of
from harness.paths import SLOW
from harness.upstream import answer, fail
from harness.wait import until

USERS = {"greedy": "key-greedy-0001", "other": "key-other-0002", "top": "key-top-0003 high",
         "batch": "key-batch-0004 low", "third": "key-third-0005", "fourth": "key-fourth-0006"}


class Gate:
    """An upstream script whose answers wait until they are let through; remembers who was in."""

    def __init__(self):
        self.cond = threading.Condition()
        self.free, self.order, self.inside, self.most, self.open = 0, [], 0, 0, False

    def __call__(self, x):
        name = x.request.json()["messages"][0]["content"]
        with self.cond:
            self.order.append(name)
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.cond.notify_all()
            try:
                while not self.open and self.free == 0:
                    if x.gone() or x.stopping.is_set():
                        return
                    self.cond.wait(0.02)
                self.free -= not self.open
            finally:
                self.inside -= 1
        answer(name)(x)

    def let(self, n=1):
        with self.cond:
            self.free += n
            self.cond.notify_all()

    def let_all(self):
        with self.cond:
            self.open = True
            self.cond.notify_all()

    def wait_order(self, n, seconds=10):
        until(f"{n} calls came", lambda: len(self.order) >= n, seconds)
        return list(self.order)


class Load:
    """Requests on their way, each in a thread."""

    def __init__(self, d):
        self.d, self.pool, self.client = d, ThreadPoolExecutor(256), d.client(
            timeout=60 * SLOW, limits=httpx.Limits(max_connections=400))

    def ask(self, text, user=None, name="m", stream=False, **headers):
        if user:
            headers["authorization"] = "Bearer " + USERS[user].split()[0]
        body = {"model": name, "stream": stream, "messages": [{"role": "user", "content": text}]}

        def run():
            r = self.client.post("/v1/chat/completions", json=body, headers={
                k.replace("_", "-"): v for k, v in headers.items()})
            r.at = time.monotonic()
            return r
        return self.pool.submit(run)

    def close(self):
        self.pool.shutdown()
        self.client.close()


@pytest.fixture
def crowd(daemon, upstream, tmp_path):
    """start(gates, config...) -> daemon, load, upstreams: a model on backends a, b, ... of one place."""
    loads, gates = [], []

    def start(*scripts, places=1, queue=None, route=None, **config):
        keys = tmp_path / "keys"
        keys.write_text("".join(f"{n}:{k}\n" for n, k in USERS.items()))
        keys.chmod(0o600)
        gates.extend(s for s in scripts if isinstance(s, Gate))
        ups = [upstream(chat=s) for s in scripts]
        names = "abcdefgh"[:len(ups)]
        d = daemon({"backends": [openai(n, u.url, probe_ms=60000, max_in_flight=places)
                                 for n, u in zip(names, ups)],
                    "models": [model("m", *names)], "queue": queue or {},
                    "routes": [{"name": "auto", "models": ["m"], **(route or {})}],
                    "auth": {"keys_file": str(keys)}, **config})
        loads.append(Load(d))
        return (d, loads[-1], *ups)
    yield start
    for g in gates:
        g.let_all()
    for load in loads:
        load.close()


def queue_of(d):
    return d.status()["queue"]


def waiting(d, n, seconds=10):
    until(f"{n} wait", lambda: queue_of(d)["length"] == n, seconds)


def measure(load, gate, n=4, user="greedy"):
    """Calls one after the other, so that their time is known to the profiler."""
    for i in range(n):
        gate.let()
        assert load.ask(f"before {i}", user).result().status_code == 200


def test_a_request_waits_for_a_place_and_says_so(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    first = load.ask("one", "greedy")
    gate.wait_order(1)
    second = load.ask("two", "greedy")
    waiting(d, 1)
    third = load.ask("three", "greedy")
    waiting(d, 2)
    q = queue_of(d)
    assert q["bytes"] > 100 and q["entered"] == 2
    until("somebody has waited", lambda: queue_of(d)["oldest_wait_ms"] > 0)
    text = d.get("/metrics").text
    assert re.search(r'shunt_queue_length\{role="gateway",worker="[^"]+"\} 2\n', text)
    assert re.search(r"shunt_queue_oldest_milliseconds\{[^}]*\} [1-9]", text)
    gate.let(3)
    results = [f.result() for f in (first, second, third)]
    assert [r.status_code for r in results] == [200, 200, 200]
    assert gate.order == ["one", "two", "three"] and gate.most == 1
    assert "x-shunt-queue-position" not in results[0].headers
    assert [r.headers["x-shunt-queue-position"] for r in results[1:]] == ["1", "2"]
    assert all(int(r.headers["x-shunt-queue-wait-ms"]) > 0 for r in results[1:])
    q = queue_of(d)
    assert (q["length"], q["bytes"], q["served"]) == (0, 0, 2) and q["wait_ms_sum"] > 0


def test_the_journal_knows_how_long_it_waited(crowd):
    from harness.journal import records
    gate = Gate()
    d, load, up = crowd(gate)
    first = load.ask("one", "greedy")
    gate.wait_order(1)
    second = load.ask("two", "greedy")
    waiting(d, 1)
    gate.let_all()
    assert first.result().status_code == second.result().status_code == 200
    rows = until("both are recorded", lambda: [
        r for r in records(d) if r["kind"] == "request" and r["status"] == 200][1:] and [
        r for r in records(d) if r["kind"] == "request" and r["status"] == 200])
    waited = [r for r in rows if "queue_us" in r]
    assert len(waited) == 1 and waited[0]["queue_position"] == 1
    assert 0 < waited[0]["queue_us"] <= waited[0]["total_us"]


def test_two_gateways_share_the_places_without_a_race(crowd):
    gate = Gate()
    d, load, up = crowd(gate, places=3, gateways=2, queue={"max_per_user": 1000})
    gate.let_all()
    results = [load.ask(f"r{i}", "greedy") for i in range(300)]
    assert {f.result().status_code for f in results} == {200}
    assert gate.most <= 3
    assert sorted(gate.order) == sorted(f"r{i}" for i in range(300))
    until("nobody waits", lambda: queue_of(d)["length"] == 0)
    assert "shunt_upstream_gateways_waiting{role=\"backend\",worker=\"a\"} 0" in d.get("/metrics").text
    assert "shunt_upstream_places_kept{role=\"backend\",worker=\"a\"} 0" in d.get("/metrics").text


def test_a_place_freed_by_another_gateway_is_noticed(crowd):
    """Both gateways have somebody waiting; each place that is given back starts one at once."""
    gate = Gate()
    d, load, up = crowd(gate, gateways=2, queue={"max_per_user": 1000})
    futures, taken = [], []

    def lengths():
        return [int(n) for n in re.findall(
            r'shunt_queue_length\{role="gateway",worker="[^"]+"\} (\d+)', d.get("/metrics").text)]

    def both():
        futures.extend(load.ask(f"r{len(futures) + i}", "greedy") for i in range(10))
        waiting(d, len(futures) - 1)
        return len(lengths()) == 2 and min(lengths()) >= 3
    until("some wait in each gateway, as the kernel deals connections", both, 20)
    # a fault that does nothing counts the messages
    with httpx.Client(transport=httpx.HTTPTransport(uds=d.socket_path), base_url="http://shunt") as c:
        assert c.post("/admin/faults", json={
            "spec": "bus_duplicate message=PlaceFree"}).status_code == 200

    def told():
        m = re.search(r'shunt_faults_injected_total\{[^}]*kind="bus_duplicate"[^}]*\} (\d+)',
                      d.get("/metrics").text)
        return int(m[1]) if m else 0
    before = told()
    for n in range(2, len(futures) + 1):
        waits = lengths()
        gate.let()
        gate.wait_order(n)
        waiting(d, len(futures) - n)
        if min(waits) > 0:
            taken.append([was - now for was, now in zip(waits, lengths())].index(1))
    gate.let()
    assert {f.result().status_code for f in futures} == {200}
    assert told() - before >= len(futures) - 1, "each of them was told of its place"
    assert all(a != b for a, b in zip(taken, taken[1:])), f"they take turns: {taken}"


def test_a_greedy_user_delays_another_by_one_place(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    many = [load.ask(f"g{i}", "greedy") for i in range(200)]
    waiting(d, 199)
    one = load.ask("single", "other")
    waiting(d, 200)
    for n in range(4):
        gate.let()
        gate.wait_order(n + 2)
    assert gate.order.index("single") <= 2
    assert one.result().status_code == 200
    gate.let_all()
    assert {f.result().status_code for f in many} == {200}


def test_users_share_by_time_whatever_each_of_theirs_takes(crowd):
    """Jain's index over the time that each user's requests had places."""
    length = {"greedy": 1, "other": 2, "third": 4}
    used = dict.fromkeys(length, 0.0)
    lock, stop = threading.Lock(), threading.Event()

    def script(x):
        name = x.request.json()["messages"][0]["content"].split()[0]
        begun = time.monotonic()
        x.stopping.wait(0.02 * length[name])  # the work itself
        answer(name)(x)
        with lock:
            if not stop.is_set():
                used[name] += time.monotonic() - begun
    d, load, up = crowd(script, queue={"max_per_user": 1000})
    futures = [load.ask(f"{n} {i}", n) for i in range(80) for n in length]
    until("much was served", lambda: len(up.chats()) >= 120, 60)
    stop.set()
    values = list(used.values())
    jain = sum(values) ** 2 / (len(values) * sum(v * v for v in values))
    assert jain > 0.9, used
    assert {f.result().status_code for f in futures} == {200}


def test_priorities_come_first_and_low_never_stands_still(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures += [load.ask(f"low{i}", "batch") for i in range(10)]
    waiting(d, 10)
    futures += [load.ask(f"high{i}", "top") for i in range(40)]
    waiting(d, 50)
    for n in range(40):
        gate.let()
        gate.wait_order(n + 2)
    served = gate.order[1:41]
    assert served[0].startswith("high") or served[1].startswith("high")
    low = sum(s.startswith("low") for s in served)
    assert 1 <= low <= 4, served
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_header_lowers_and_never_raises(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    for n, (text, user, said) in enumerate((
            ("lowered", "other", "low"), ("not raised", "batch", "high"), ("plain", "third", "HIGH"),
            ("may", "top", "high")), 1):
        futures.append(load.ask(text, user, x_shunt_priority=said))
        waiting(d, n)
    for n in range(4):
        gate.let()
        gate.wait_order(n + 2)
    assert gate.order[1:3] == ["may", "plain"]
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_route_has_a_priority(crowd):
    gate = Gate()
    d, load, up = crowd(gate, route={"priority": "low"})
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures.append(load.ask("low", "other", name="auto"))
    waiting(d, 1)
    futures.append(load.ask("raised", "top", name="auto", x_shunt_priority="high"))
    waiting(d, 2)
    gate.let(2)
    assert gate.wait_order(3)[1] == "raised"
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_full_queue_refuses_with_retry_after(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max": 2})
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures += [load.ask("a", "greedy"), load.ask("b", "other")]
    waiting(d, 2)
    r = load.ask("c", "third").result()
    assert r.status_code == 503 and error_of(r.content)["code"] == "queue_full"
    assert int(r.headers["retry-after"]) >= 1
    assert queue_of(d)["refused_full"] == 1
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_who_is_refused_hears_the_position_behind_its_users_own(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max": 3})
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    for n in range(3):
        futures.append(load.ask(f"r{n}", "greedy"))
        waiting(d, n + 1)
    r = load.ask("more", "greedy").result()
    assert r.status_code == 503 and error_of(r.content)["code"] == "queue_full"
    assert r.headers["x-shunt-queue-position"] == "4"
    gate.let_all()
    answers = [f.result() for f in futures]
    assert [a.status_code for a in answers] == [200] * 4
    assert [a.headers.get("x-shunt-queue-position") for a in answers] == [None, "1", "2", "3"]


def test_without_a_queue_nobody_waits(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max": 0})
    first = load.ask("in", "greedy")
    gate.wait_order(1)
    r = load.ask("a", "top").result()
    assert r.status_code == 503 and error_of(r.content)["code"] == "queue_full"
    gate.let_all()
    assert first.result().status_code == 200


def test_one_user_may_not_have_all_of_it(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max_per_user": 2})
    futures = [load.ask(t, "greedy") for t in ("in", "a", "b")]
    waiting(d, 2)
    r = load.ask("c", "greedy").result()
    assert r.status_code == 429 and error_of(r.content)["code"] == "user_queue_full"
    assert error_of(r.content)["type"] == "rate_limit_error" and "retry-after" in r.headers
    futures.append(load.ask("d", "other"))
    waiting(d, 3)
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}
    assert queue_of(d)["refused_user"] == 1


def test_bytes_of_bodies_are_bounded(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max_bytes": "1MiB"})
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures += [load.ask("x" * 600_000, "greedy")]
    waiting(d, 1)
    r = load.ask("y" * 600_000, "other").result()
    assert r.status_code == 503 and "queue.max_bytes" in error_of(r.content)["message"]
    futures += [load.ask("z" * 300_000, "other")]
    waiting(d, 2)
    assert 900_000 < queue_of(d)["bytes"] <= 1 << 20
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_higher_one_takes_the_place_of_the_newest_low_one(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"max": 2})
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures.append(load.ask("old", "batch"))
    waiting(d, 1)
    shed = load.ask("new", "batch")
    waiting(d, 2)
    futures.append(load.ask("urgent", "top"))
    r = shed.result()
    assert r.status_code == 503 and error_of(r.content)["code"] == "shed"
    assert int(r.headers["retry-after"]) >= 1
    until("it was counted", lambda: queue_of(d)["shed"] == 1)
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}
    assert "new" not in gate.order


def test_what_would_come_too_late_is_refused_at_once(daemon):
    """Once the time of a call is known; before, nobody is refused."""
    d = daemon({"backends": [{**sim("s", ttft_ms=400, models=["m"]), "max_in_flight": 1}],
                "models": [model("m", "s")],
                "routes": [{"name": "auto", "models": ["m"]},
                           {"name": "hasty", "models": ["m"], "request_ms": "2s"}]})
    load = Load(d)
    first = [load.ask(f"w{i}", name="hasty") for i in range(2)]
    assert {f.result().status_code for f in first} == {200}, "nothing was known yet"
    until("its time is known", lambda: any(
        b["ewma_ms"] > 300 for b in d.status()["backends"]))
    futures = [load.ask(f"a{i}", name="auto") for i in range(8)]
    waiting(d, 7)
    r = load.ask("hasty", name="hasty", x_shunt_priority="low").result()
    assert sum(not f.done() for f in futures) >= 5, "it waited with the others"
    assert r.status_code == 503, r.text
    e = error_of(r.content)
    assert e["code"] == "deadline_unreachable"
    assert re.search(r"position \d+, expected wait \d{4,} ms and \d+ ms for the answer", e["message"])
    assert re.search(r"(2000|1\d\d\d) ms in all", e["message"]), e["message"]
    assert int(r.headers["retry-after"]) >= 1
    assert int(r.headers["x-shunt-queue-position"]) >= 5
    assert queue_of(d)["refused_deadline"] == 1
    assert {f.result().status_code for f in futures} == {200}
    load.close()


def test_nobody_waits_for_longer_than_the_queue_allows(crowd):
    gate = Gate()
    d, load, up = crowd(gate, queue={"wait_ms": "300ms"})
    first = load.ask("in", "greedy")
    gate.wait_order(1)
    r = load.ask("a", "other").result()
    assert r.status_code == 503 and error_of(r.content)["code"] == "queue_timeout"
    assert int(r.headers["x-shunt-queue-wait-ms"]) >= 300 and "retry-after" in r.headers
    assert queue_of(d)["expired"] == 1
    gate.let_all()
    assert first.result().status_code == 200


def test_a_client_that_leaves_is_out_at_once(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    with Raw(d) as gone:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "gone"}]})
        gone.send(f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
                  f"authorization: Bearer {USERS['other']}\r\ncontent-length: {len(body)}\r\n\r\n{body}")
        waiting(d, 1)
    waiting(d, 0)
    futures.append(load.ask("after", "greedy"))
    waiting(d, 1)
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}
    assert gate.order == ["in", "after"] and queue_of(d)["gone"] == 1


def test_any_of_two_backends_will_do(crowd):
    one, two = Gate(), Gate()
    d, load, a, b = crowd(one, two)
    futures = [load.ask(t, "greedy") for t in ("x", "y")]
    until("both are busy", lambda: one.inside + two.inside == 2)
    futures.append(load.ask("z", "greedy"))
    waiting(d, 1)
    two.let_all()
    until("it went to the one that was free first", lambda: "z" in two.order)
    one.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_backend_that_dies_loses_nobody_who_waits(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask(f"r{i}", "greedy") for i in range(20)]
    waiting(d, 19)
    old = d.workers("backend")[0]
    os.kill(old.pid, signal.SIGKILL)
    d.wait_worker(old)
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}
    assert gate.most <= 2, "the old life's call may still be there"
    waiting(d, 0)


def test_a_gateway_that_dies_gives_its_place_back(crowd):
    gate = Gate()
    d, load, up = crowd(gate, gateways=2)
    futures = [load.ask(f"r{i}", "greedy") for i in range(40)]
    waiting(d, 39)
    old = d.workers("gateway")[0]
    os.kill(old.pid, signal.SIGKILL)
    gate.let_all()
    for f in futures:
        try:
            assert f.result().status_code == 200
        except httpx.HTTPError:
            pass  # its connection ended with the gateway
    d.wait_worker(old)
    waiting(d, 0)
    assert load.ask("after", "greedy").result().status_code == 200


def test_an_open_breaker_ends_the_waiting_honestly(crowd):
    gate = Gate()
    mode = []

    def script(x):
        if mode:
            return fail(429, "rate_limit_error", headers=[("Retry-After", "60")])(x)
        return gate(x)
    d, load, up = crowd(script)
    futures = [load.ask(f"r{i}", "greedy") for i in range(4)]
    waiting(d, 3)
    mode.append(1)
    gate.let_all()
    results = [f.result() for f in futures]
    assert sorted(r.status_code for r in results) == [200, 429, 503, 503]
    assert all(int(r.headers["retry-after"]) > 50 for r in results if r.status_code != 200)
    waiting(d, 0)


def test_a_reload_shows_who_waits_a_new_backend(crowd, upstream):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask("in", "greedy")]
    gate.wait_order(1)
    futures += [load.ask(t, "greedy") for t in ("a", "b")]
    waiting(d, 2)
    other = upstream(chat=answer("new"))
    d.reload(backends=[*d.config["backends"], openai("n", other.url, probe_ms=60000)],
             models=[model("m", "a", "n")])
    until("those who waited went there", lambda: len(other.chats()) == 2)
    gate.let_all()
    results = [f.result() for f in futures]
    assert {r.status_code for r in results} == {200}
    assert [r.headers["x-shunt-backend"] for r in results[1:]] == ["n", "n"]


def test_a_reload_raises_the_limit_for_who_waits(crowd):
    gate = Gate()
    d, load, up = crowd(gate)
    futures = [load.ask(t, "greedy") for t in ("in", "a", "b")]
    waiting(d, 2)
    row = {**d.config["backends"][0], "max_in_flight": 3}
    d.reload(backends=[row])
    gate.wait_order(3)
    gate.let_all()
    assert {f.result().status_code for f in futures} == {200}


def test_a_drain_serves_or_refuses_and_drops_nobody(crowd):
    gate = Gate()
    d, load, up = crowd(gate, drain_ms="3s")
    futures = [load.ask(t, "greedy") for t in ("in", "a", "b")]
    waiting(d, 2)
    d.signal(signal.SIGTERM)
    gate.let()
    gate.wait_order(2)
    until("who got no place in half of the time was told", lambda: sum(f.done() for f in futures) == 2)
    gate.let_all()
    results = sorted((f.result() for f in futures), key=lambda r: r.status_code)
    assert [r.status_code for r in results] == [200, 200, 503]
    assert error_of(results[2].content)["code"] == "queue_timeout"
    assert "being stopped" in results[2].text and "retry-after" in results[2].headers
    assert d.wait_end() == 0


def test_a_stream_can_hear_of_its_place(crowd):
    gate = Gate()
    d, load, up = crowd(gate, route={"queue_notice_ms": "100ms"})
    first = load.ask("in", "greedy")
    gate.wait_order(1)
    lines = []

    def run():
        with load.client.stream("POST", "/v1/chat/completions", headers={
                "authorization": "Bearer " + USERS["other"]}, json={
                "model": "auto", "stream": True,
                "messages": [{"role": "user", "content": "two"}]}) as r:
            for line in r.iter_lines():
                lines.append(line)
            return r.status_code, r.headers
    second = load.pool.submit(run)
    until("two notices came", lambda: sum(": waiting position=1 wait_ms=" in x for x in lines) >= 2)
    assert not any(x.startswith("data:") for x in lines)
    gate.let_all()
    status, headers = second.result()
    assert status == 200 and headers["x-shunt-queue-position"] == "1"
    events = [x[6:] for x in lines if x.startswith("data: ")]
    assert events[-1] == "[DONE]" and "two" in "".join(
        c["delta"].get("content") or "" for e in events[:-1] for c in json.loads(e)["choices"])
    assert first.result().status_code == 200


def test_a_noticed_stream_still_falls_back(crowd):
    """What the client has are comments: a failure before the first event moves on unseen."""
    gate = Gate()

    def second(x):
        return fail(500)(x) if "two" in str(x.request.json()) else gate(x)
    other = Gate()
    d, load, a, b = crowd(second, other, route={"queue_notice_ms": "50ms"})
    futures = [load.ask(t, "greedy") for t in ("x", "y")]
    until("both are busy", lambda: gate.inside + other.inside == 2)
    r = load.ask("two", "other", name="auto", stream=True)
    waiting(d, 1)
    until("a notice went out", lambda: d.get("/metrics").text.count("responses_2xx_total"))
    gate.let_all()
    until("the first failed", lambda: any("two" in str(c.json()) for c in a.chats()))
    other.let_all()
    done = r.result()
    assert done.status_code == 200 and "data: [DONE]" in done.text and '"error"' not in done.text
    assert {f.result().status_code for f in futures} == {200}


def test_lost_messages_only_delay(crowd):
    """Wishes and places that never arrive: said again in time."""
    gate = Gate()
    d, load, up = crowd(gate, faults=[
        {"kind": "bus_drop", "message": "PlaceFree", "every": "2"},
        {"kind": "bus_drop", "message": "PlaceWanted", "every": "3"}])
    gate.let_all()
    futures = [load.ask(f"r{i}", "greedy") for i in range(8)]
    assert {f.result().status_code for f in futures} == {200}
    assert gate.most == 1
