# SPDX-License-Identifier: Apache-2.0
"""A chaos scenario as other gateways can meet it: its requests and HTTP faults, played and judged."""
import collections
import glob
import http.client
import json
import os
import re
import subprocess
import threading
import time

from . import bench, broken

COLUMNS = ("answered", "error", "lost", "wrong", "late")
LIMIT_S = 20    # a request is given up
LATE_S = 5      # as the scenarios' usual limit
NO_HTTP = ("kill", "stop", "abort", "segfault", "exit_early", "slow_start", "crash_loop", "fd_limit",
           "memory_limit", "disk_full", "clock_jump", "bus_", "reload")


class Plan:
    """The same requests and faults that `shunt chaos run` plays for this file and its seed."""

    def __init__(self, path, head, requests):
        with open(path) as f:
            text = f.read()
        self.name = head["scenario"]
        self.steps = [(s["at_ms"] / 1000, s["do"]) for s in head["faults"]]
        self.requests = requests
        self.backends = sorted(set(re.findall(r"name: ([abc]), kind: sim", text)))
        route = re.search(r"- \{name: auto, models: \[[^]]*\],? ?(.*)\}", text).group(1)
        self.options = re.sub(r"(dial|request_ms|strategy: quality_first)[^,}]*,? ?", "", route)
        self.breaker = "breaker: {enabled: no}" not in text


def is_http(head, requests):
    lines = [s["do"] for s in head["faults"]] + [r["fault"] for r in requests if r["fault"]]
    return lines and not any(line.startswith(NO_HTTP) or "user=" in line for line in lines)


def plans(build, folder, select):
    out = []
    for path in sorted(glob.glob(os.path.join(bench.ROOT, "tests/scenarios/*.yaml"))):
        if select not in path:
            continue
        trace = os.path.join(folder, "trace")
        with open(path) as f:
            if not any(word in f.read() for word in ("faults:", "{do: ")):
                continue
        subprocess.run([os.path.join(build, "shunt"), "chaos", "run", path, "--trace", trace],
                       stdout=subprocess.DEVNULL, check=False, timeout=120)
        with open(trace) as f:
            head, *requests = map(json.loads, f)
        os.remove(trace)
        if is_http(head, requests):
            out.append(Plan(path, head, requests))
    return out


class Upstreams:
    """The broken servers; {name: Server}."""

    def __enter__(self):
        self.servers = {n: broken.Server(n) for n in "abc"}
        return self

    def __exit__(self, *_):
        for s in self.servers.values():
            s.stop()

    def ports(self, plan):
        return {n: self.servers[n].port for n in plan.backends}

    def begin(self, plan):
        for s in self.servers.values():
            s.reset()
            for r in plan.requests:
                if r["fault"] and re.search(r"backend=(\w)", r["fault"]).group(1) == s.name:
                    s.by_prompt[r["prompt"]] = broken.Rule(r["fault"], 0, 1)

    def step(self, line, stretch):
        target = re.search(r"backend=(\w)", line)
        for s in self.servers.values():
            if line == "clear":
                s.reset()
            elif target is None or target.group(1) == s.name:
                s.add(line, stretch)


def judge_text(said, prompt):
    return said == "".join(broken.pieces(prompt))


def read_stream(response, request):
    """One of the outcomes of a stream."""
    text, ends = "", 0
    for raw in response:
        line = raw.decode(errors="replace").strip()
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            ends += 1
            continue
        try:
            event = json.loads(data)
        except ValueError:
            return "wrong"
        if event.get("error"):
            return "error"
        if event.get("x_shunt", {}).get("event") == "restart":
            text = ""
        for choice in event.get("choices", []):
            text += choice.get("delta", {}).get("content") or ""
    if ends == 0:
        return "lost"
    return "answered" if ends == 1 and judge_text(text, request["prompt"]) else "wrong"


def read_whole(response, request):
    body = json.loads(response.read())
    if "error" in body or response.status != 200:
        return "error"
    return "answered" if judge_text(body["choices"][0]["message"]["content"], request["prompt"]) \
        else "wrong"


def ask(peer, request):
    c = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=LIMIT_S)
    try:
        c.request("POST", "/v1/chat/completions", json.dumps({
            "model": peer.model, "stream": request["stream"],
            "messages": [{"role": "user", "content": request["prompt"]}]}),
            {"Content-Type": "application/json", "Authorization": "Bearer bench", **peer.headers()})
        r = c.getresponse()
        if request["stream"] and r.status == 200:
            return read_stream(r, request)
        return read_whole(r, request)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return "lost"
    finally:
        c.close()


def play(plan, peer, upstreams, stretch):
    """{outcome: requests}; late ones are counted beside their outcome."""
    seen, lock, threads = collections.Counter(), threading.Lock(), []

    def one(request):
        begun = time.monotonic()
        outcome = ask(peer, request)
        with lock:
            seen[outcome] += 1
            seen["late"] += time.monotonic() - begun > LATE_S

    upstreams.begin(plan)
    begun = time.monotonic()
    todo = [(at, 0, line) for at, line in plan.steps] + \
           [(r["at_ms"] / 1000, 1, r) for r in plan.requests]
    for at, is_request, what in sorted(todo, key=lambda t: t[:2]):
        time.sleep(max(0, begun + at * stretch - time.monotonic()))
        if is_request:
            threads.append(threading.Thread(target=one, args=(what,)))
            threads[-1].start()
        else:
            upstreams.step(what, stretch)
    for t in threads:
        t.join()
    return {c: seen[c] for c in COLUMNS}
