# SPDX-License-Identifier: Apache-2.0
"""The measurements: each runs one load against one peer and returns plain numbers."""
import json
import os
import subprocess

from . import peers, proc


class Failed(Exception):
    """A load run that lost requests: its figures would lie."""


def load(bench, peer, args, limit_s):
    """Run the load generator; returns (its report, CPU ns and switches of the peer's tree)."""
    pids = peer.pids()
    cpu, (voluntary, forced) = proc.cpu_ns(pids), proc.switches(pids)
    p = subprocess.run([bench.program("load"), "-p", str(peer.port), *args, *peer.load_args()],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit_s)
    if p.returncode != 0:
        raise Failed(p.stderr.strip())
    report = json.loads(p.stdout)
    if report["failed"] > 0 or report["answered"] == 0:
        raise Failed(f"{report['failed']} of {report['sent']} failed: {report['error']}")
    after = proc.switches(pids)
    report["cpu_ns"] = proc.cpu_ns(pids) - cpu
    report["switches"] = [after[0] - voluntary, after[1] - forced]
    return report


def rps(bench, peer):
    """Closed loop, 64 connections."""
    s = bench.seconds["rps"]
    r = load(bench, peer, ["-c", "64", "-s", str(s)], s + 30)
    return {"rps": r["rps"], "rps_p50_us": r["latency"]["p50_us"],
            "rps_p99_us": r["latency"]["p99_us"], "cpu_us_per_request": r["cpu_ns"] / 1e3 / r["answered"],
            "switches_per_request": sum(r["switches"]) / r["answered"]}


def low(bench, peer):
    """Open loop at each of the peer's low rates, latency from the intended send time."""
    out = {}
    for rate in peer.low_rates:
        s = bench.seconds["low"]
        r = load(bench, peer, ["-c", "16", "-r", str(rate), "-s", str(s), "-g", "20"], s + 40)
        for q in ("p50", "p90", "p99", "p999"):
            out[f"low{rate}_{q}_us"] = r["latency"][f"{q}_us"]
        out[f"low{rate}_cpu_us_per_request"] = r["cpu_ns"] / 1e3 / r["answered"]
        out[f"low{rate}_kept"] = min(1.0, r["answered"] / (rate * r["seconds"]))
    return out


def ttft(bench, peer):
    """Open loop of short streams, 50 new ones a second (10 under way at a time). -j: else each
    would start in the moment in which all others have a token."""
    s = bench.seconds["ttft"]
    rate = "50" if peer.streams >= 200 else "10"
    r = load(bench, peer, ["-c", "64", "-r", rate, "-j", "-t", "10", "-s", str(s)], s + 30)
    return {"ttft_p50_us": r["ttft"]["p50_us"], "ttft_p99_us": r["ttft"]["p99_us"],
            "gap_p99_us": r["gap"]["p99_us"], "gap_max_us": r["gap"]["max_us"]}


def stream(bench, peer):
    """Streams of 50 tokens/s, all at once; cost per token and each token's way through the proxy."""
    s = bench.seconds["stream"]
    n = str(peer.streams)
    r = load(bench, peer, ["-c", n, "-n", n, "-t", str(int(s * 50)), "-w", "1037", "-s", str(s + 2),
                           "-g", "30"], s + 60)
    return {"cpu_us_per_token": r["cpu_ns"] / 1e3 / r["tokens"],
            "switches_per_token": sum(r["switches"]) / r["tokens"],
            "token_p50_us": r["hop"]["p50_us"], "token_p99_us": r["hop"]["p99_us"],
            "token_max_us": r["hop"]["max_us"]}


def memory(peer):
    """Of the whole tree, and each process of it."""
    rows = []
    for pid in sorted(peer.pids()):
        rss, pss = proc.memory_kb(pid)
        rows.append({"pid": pid, "name": proc.name(pid), "rss_kb": rss, "pss_kb": pss})
    return {"rss_mb": sum(r["rss_kb"] for r in rows) / 1024,
            "pss_mb": sum(r["pss_kb"] for r in rows) / 1024, "processes": rows}


def cold(bench, peer):
    """exec to the last byte of the first answer, in ms; a fresh process each time."""
    port = peers.free_port()
    argv = peer.argv(port)
    p = subprocess.run([bench.program("first"), "-p", str(port), "-s", str(peer.start_limit_s),
                        *peer.load_args(), *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, env={**os.environ, **peer.env}, cwd=peer.dir,
                       timeout=peer.start_limit_s + 30)
    if p.returncode != 0:
        raise Failed(p.stderr.strip())
    return json.loads(p.stdout)["ms"]


STEPS = (("requests/s", rps), ("latency at low load", low), ("time to first token", ttft),
         ("streams", stream))
