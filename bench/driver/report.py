# SPDX-License-Identifier: Apache-2.0
"""Medians, added figures, the targets of the project, and the table for people."""
import statistics

# key, heading, digits; what the table shows of each peer
COLUMNS = (
    ("rps", "requests/s, 64 connections", 0),
    ("rps_p99_us", "  p99 us", 0),
    ("cpu_us_per_request", "  CPU us per request", 1),
    ("switches_per_request", "  context switches per request", 2),
    ("added500_p50_us", "added at 500 requests/s: p50 us", 0),
    ("added500_p90_us", "  p90 us", 0),
    ("added500_p99_us", "  p99 us", 0),
    ("added500_p999_us", "  p99.9 us", 0),
    ("low500_cpu_us_per_request", "  CPU us per request", 0),
    ("added100_p50_us", "added at 100 requests/s: p50 us", 0),
    ("added100_p99_us", "  p99 us", 0),
    ("added50_p50_us", "added at 50 requests/s: p50 us", 0),
    ("added50_p99_us", "  p99 us", 0),
    ("added_ttft_p50_us", "added time to first token: p50 us", 0),
    ("added_ttft_p99_us", "  p99 us", 0),
    ("gap_max_us", "  longest gap between tokens us (20 ms apart)", 0),
    ("cpu_us_per_token", "CPU us per streamed token", 2),
    ("switches_per_token", "  context switches per token", 2),
    ("added_token_p50_us", "  added per token: p50 us", 0),
    ("added_token_p99_us", "  p99 us", 0),
    ("pss_mb", "memory after load, whole tree: PSS MB", 1),
    ("rss_mb", "  RSS MB", 1),
    ("cold_ms", "exec to first answer ms", 1),
)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "rounds": len(values)}


def add_added(rounds):
    """Per round, what a peer adds over direct in that same round."""
    for row in rounds:
        base = row.get("direct", {})
        for name, r in row.items():
            if name == "direct":
                continue
            for rate in (500, 100, 50):
                base_rate = rate if f"low{rate}_p50_us" in base else 100
                for q in ("p50", "p90", "p99", "p999"):
                    have, of = r.get(f"low{rate}_{q}_us"), base.get(f"low{base_rate}_{q}_us")
                    if have is not None and of is not None:
                        r[f"added{rate}_{q}_us"] = have - of
            for key in ("ttft_p50_us", "ttft_p99_us", "token_p50_us", "token_p99_us"):
                if key in r and key in base:
                    r[f"added_{key}"] = r[key] - base[key]


def summarise(rounds, extra):
    """{peer: {figure: spread}} over the rounds; extra adds lists that are not per round."""
    out = {}
    for row in rounds:
        for name, figures in row.items():
            for key, value in figures.items():
                out.setdefault(name, {}).setdefault(key, []).append(value)
    for name, figures in extra.items():
        for key, values in figures.items():
            if values:
                out.setdefault(name, {}).setdefault(key, []).extend(values)
    return {n: {k: spread(v) for k, v in f.items()} for n, f in out.items()}


def _median(summary, peer, key):
    return summary.get(peer, {}).get(key, {}).get("median")


def _ratio(summary, key, peer, other):
    a, b = _median(summary, peer, key), _median(summary, other, key)
    return a / b if a is not None and b else None


def _portkey_p50(summary):
    """Portkey's own best case: the lower rate where the higher one is too much for it."""
    values = [v for v in (_median(summary, "portkey", f"added{r}_p50_us") for r in (500, 100)) if v]
    return min(values) if values else None


def targets(summary):
    """The targets of the project: name, relation, target, reached (None: not measured), met."""
    p50, portkey = _median(summary, "shunt", "added500_p50_us"), _portkey_p50(summary)
    cold = summary.get("shunt", {}).get("cold_ms")
    ttft_p99 = _median(summary, "shunt", "added_ttft_p99_us")
    rows = (
        ("requests/s, times Portkey's", ">=", 25, _ratio(summary, "rps", "shunt", "portkey")),
        ("requests/s, times nginx's", ">=", 0.4, _ratio(summary, "rps", "shunt", "nginx")),
        ("added p50 at low load, of Portkey's", "<=", 0.25, p50 / portkey if p50 and portkey else None),
        ("added p50 at low load, times nginx's", "<=", 3,
         _ratio(summary, "added500_p50_us", "shunt", "nginx")),
        ("added time to first token p99, ms", "<", 1, ttft_p99 / 1e3 if ttft_p99 is not None else None),
        ("CPU per streamed token, times nginx's", "<=", 2,
         _ratio(summary, "cpu_us_per_token", "shunt", "nginx")),
        ("PSS of supervisor, 2 gateways, 3 backends, profiler, MB", "<=", 50,
         _median(summary, "shunt", "pss_mb")),
        ("shuntd's exec to first answered request, ms", "<=", 150, cold["median"] if cold else None),
    )
    return [{"name": n, "relation": rel, "target": t, "reached": r,
             "met": None if r is None else {">=": r >= t, "<=": r <= t, "<": r < t}[rel]}
            for n, rel, t, r in rows]


def _cell(s, digits):
    if s is None:
        return "-"
    text = f"{s['median']:.{digits}f}"
    if s["rounds"] > 1:
        text += f" [{s['min']:.{digits}f}..{s['max']:.{digits}f}]"
    return text


def table(result):
    """Lines for people; conditions first."""
    c = result["conditions"]
    lines = [f"{c['date']}  {c['cpu']}, {c['cores']} cores, {c['memory_gb']} GB, Linux {c['kernel']}",
             f"{c['rounds']} interleaved rounds, median [min..max]; all on loopback, same upstream, "
             "nothing pinned",
             f"others on this machine used {c['others_cpu_percent']} % of its CPU meanwhile", ""]
    lines += [f"  {n}: {p['version']}{'; ' if p['version'] else ''}{p['config']}"
              for n, p in result["peers"].items()]
    lines += [f"  {n}: skipped: {why}" for n, why in result["skipped"].items()] + [""]
    names = list(result["summary"])
    rows = [["", *names]]
    for key, heading, digits in COLUMNS:
        if any(key in result["summary"][n] for n in names):
            rows.append([heading, *(_cell(result["summary"][n].get(key), digits) for n in names)])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        lines.append("  ".join([r[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(r[1:], widths[1:]))]))
    for note in result["notes"]:
        lines.append(f"note: {note}")
    lines += ["", "target (shunt)".ljust(60) + "wanted".rjust(10) + "reached".rjust(10)]
    for t in result["targets"]:
        reached = "-" if t["reached"] is None else f"{t['reached']:.2f}"
        verdict = {None: "not measured", True: "met", False: "MISSED"}[t["met"]]
        lines.append(t["name"].ljust(60) + f"{t['relation']} {t['target']}".rjust(10) +
                     reached.rjust(10) + "  " + verdict)
    return "\n".join(lines)
