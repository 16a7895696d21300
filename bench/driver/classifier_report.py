# SPDX-License-Identifier: Apache-2.0
"""Tables and targets of the classifier benchmark."""
import statistics

MODEL = "bert-base"


def median_ms(result, model, threads, engine, tokens):
    times = result["times"].get(model, {}).get(threads, {}).get(engine, {}).get(tokens)
    return statistics.median(times) if times else None


def ratio(result, ours, theirs, tokens, threads=1, model=MODEL):
    """How many times faster: the median over rounds of the ratio within each round."""
    times = result["times"].get(model, {}).get(threads, {})
    a, b = times.get(ours, {}).get(tokens), times.get(theirs, {}).get(tokens)
    return statistics.median(y / x for x, y in zip(a, b)) if a and b else None


def _row(what, wanted, got, at_most=False):
    if got is None:
        return {"target": what, "wanted": wanted, "got": None, "met": None}
    return {"target": what, "wanted": wanted, "got": round(got, 3),
            "met": got <= wanted if at_most else got >= wanted}


def _best(result, tokens, threads, model):
    """The faster of i8 and bf16, or None."""
    got = [ratio(result, f"shunt {d}", "ORT i8", tokens, threads, model) for d in ("i8", "bf16")]
    return max((g for g in got if g is not None), default=None)


def targets(result):
    rows = [_row(f"bf16 x ORT f32, {t} tokens", w, ratio(result, "shunt bf16", "ORT f32", t))
            for t, w in ((32, 4), (128, 5))]
    for tokens in (8, 16, 32, 64, 128, 256, 512):
        rows.append(_row(f"f32 x ORT f32, {tokens} tokens", 0.95,
                         ratio(result, "shunt f32", "ORT f32", tokens)))
    for tokens in (8, 16, 32, 64, 128, 256, 512):
        with_amx = {8: 1.5}.get(tokens, 2.4 if tokens >= 32 else 1.5)
        rows.append(_row(f"i8 x ORT i8, {tokens} tokens, with AMX", with_amx,
                         ratio(result, "shunt i8", "ORT i8", tokens)))
    for model, by_threads in result["times"].items():
        for threads, engines in by_threads.items():
            lengths = sorted({t for e in engines.values() for t in e})
            least, at = min(((_best(result, t, threads, model), t) for t in lengths),
                            key=lambda pair: pair[0] or 0)
            rows.append(_row(f"{model}, {threads} thread(s): best x ORT i8, without AMX, "
                             f"least of all lengths ({at} tokens)", 1, least))
    starts, memory = result["starts"], result["memory"].get(MODEL, {})
    for ours, theirs in (("shunt bf16", "ORT f32"), ("shunt i8", "ORT i8")):
        for clock, how in (("ms", "by the clock"), ("cpu_ms", "on the CPU")):
            attach = starts.get(ours, {}).get(f"attach_first_{clock}")
            other = starts.get(theirs, {}).get(f"exec_to_first_{clock}")
            rows.append(_row(f"{ours}: attach + first pass, x process start of {theirs}, {how}", 30,
                             statistics.median(other) / statistics.median(attach)
                             if attach and other else None))
        m = memory.get(ours, {})
        rows.append(_row(f"{ours}: PSS of 4 over one image", 1.15,
                         m["pss_of_four_mb"] / m["image_mb"] if "image_mb" in m else None, True))
    return rows


def _table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w)
                       for i, (c, w) in enumerate(zip(r, widths))).rstrip()
             for r in [head, *rows]]
    return "\n".join(lines)


def text(result):
    c = result["conditions"]
    out = [f"{c['date']}; {c['cpu']}, {c['cores']} cores, kernel {c['kernel']}; "
           f"{c['rounds']} rounds; others used {c['others_cpu_percent']} % of the CPU"]
    for model, by_threads in result["times"].items():
        for threads, engines in by_threads.items():
            lengths = sorted({t for e in engines.values() for t in e})
            rows = [[name, *(f"{median_ms(result, model, threads, name, t):.3g}" for t in lengths)]
                    for name in engines]
            how = "on the CPU" if threads == 1 else "by the clock"
            out += ["", f"{model}, {threads} thread(s): ms {how} per text of ... tokens; median of rounds",
                    _table(["", *lengths], rows)]
    rows = [[name, *(f"{statistics.median(s[k]):.1f}" if k in s else "-"
                     for k in ("exec_to_first_ms", "exec_to_first_cpu_ms", "attach_first_ms",
                               "attach_first_cpu_ms"))]
            for name, s in result["starts"].items()]
    out += ["", _table([f"{MODEL}, start", "exec to first ms", "on the CPU",
                             "attach to first ms", "on the CPU"], rows)]
    rows = [[name, *(m.get(k, "-") for k in ("rss_mb", "pss_of_four_mb", "image_mb"))]
            for name, m in result["memory"].get(MODEL, {}).items()]
    out += ["", _table([f"{MODEL}, memory", "RSS MB", "PSS of four MB", "image MB"], rows)]
    rows = [[t["target"], t["wanted"], "-" if t["got"] is None else t["got"],
             {True: "met", False: "missed", None: "-"}[t["met"]]] for t in result["targets"]]
    out += ["", _table(["target", "wanted", "got", ""], rows)]
    return "\n".join(out + [""] + result["notes"]).rstrip()
