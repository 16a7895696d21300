# SPDX-License-Identifier: Apache-2.0
"""Tables that say the same thing in two places must agree."""
import re
from collections import defaultdict

import tree

SCHEMA = "schemas/shunt.fbs"


def schema():
    return re.sub(r"//[^\n]*", "", tree.text(SCHEMA))


def braces(kind, name):
    m = re.search(rf"\b{kind}\s+{name}\b[^{{]*{{([^}}]*)}}", schema())
    return [w.strip() for w in m.group(1).split(",") if w.strip()] if m else []


def rows(path, macro):
    """The argument lists of the rows MACRO(...) of a table header."""
    body = tree.no_comments(path)
    return [[a.strip() for a in m.group(1).split(",")]
            for m in re.finditer(rf"^{macro}\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", body, re.M)]


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def check_roles():
    """enum Role of the schema is workers/worker_list.h in its order, and each role has its folder"""
    roles = braces("enum", "Role")
    workers = rows("workers/worker_list.h", "WORKER")
    if [r.lower() for r in roles] != ["none"] + [w[1] for w in workers]:
        yield f"{SCHEMA}: enum Role is {roles}, worker_list.h has {[w[1] for w in workers]}"
    for symbol, name, *_ in workers:
        if symbol.lower() != name:
            yield f"workers/worker_list.h: {symbol} and {name} differ"
        if not (tree.ROOT / "workers" / name).is_dir():
            yield f"workers/worker_list.h: no folder workers/{name}"
    for folder in {p.parent.name for p in tree.code(".c", under=("workers",))} - {"common"}:
        if folder not in [w[1] for w in workers]:
            yield f"workers/{folder}: no row in workers/worker_list.h"


def handler_rows():
    """(role folder, path, line, message, senders) of every row of every handler table."""
    for path in tree.code(".c", under=("workers",)):
        body = tree.bare(path)
        pattern = r"static\s+const\s+struct\s+handler\s+\w+\s*\[\s*\]\s*=\s*\{(.*?)\n\};"
        for m in re.finditer(pattern, body, re.S):
            first = body.count("\n", 0, m.start(1)) + 1
            for r in re.finditer(r"\{\s*(\w+)\s*,\s*([^{}]*?),\s*(\w+)\s*,?\s*\}", m.group(1)):
                line = first + m.group(1).count("\n", 0, r.start())
                yield path.parent.name, path, line, r.group(1), r.group(2)


def check_every_message_has_one_handler():
    """every member of the schema's union Body is a row of exactly one handler table"""
    members = {"MSG_" + snake(m).upper(): m for m in braces("union", "Body")}
    if not members:
        yield f"{SCHEMA}: no union Body"
    places = defaultdict(list)
    for role, path, line, message, senders in handler_rows():
        places[message].append((role, f"{path}:{line}"))
        if message not in members:
            yield f"{path}:{line}: {message} is not in the schema"
        if "ROLE_BIT" not in senders:
            yield f"{path}:{line}: {message} names no sender role"
    for symbol, member in members.items():
        if len(places[symbol]) != 1:
            where = ", ".join(p for _, p in places[symbol]) or "no handler table"
            yield f"{SCHEMA}: {member} is in {where}; must be in exactly one"
        if not re.search(rf"\btable\s+{member}\b", schema()):
            yield f"{SCHEMA}: no table {member}"


def check_one_handler_table_per_role():
    """every role has exactly one static const struct handler table"""
    for folder in sorted({p.parent for p in tree.code(".c", under=("workers",))}):
        if folder.name == "common":
            continue
        tables = [f"{p}:{n}" for p in tree.code(".c", under=("workers",)) if p.parent == folder
                  for n, _ in tree.find(r"static\s+const\s+struct\s+handler\s+\w+\s*\[", p)]
        if len(tables) != 1:
            yield f"{folder}: {len(tables)} handler tables {tables}"


def check_counters_are_used():
    """every row of shm/counter_list.h is counted somewhere, once described, named as Prometheus wants"""
    body = "\n".join(tree.bare(p) for p in tree.code(".c"))
    seen = set()
    for row in rows("shm/counter_list.h", "COUNTER"):
        symbol, kind, metric = row[:3]
        if not re.search(rf"\bCOUNTER_{symbol}\b", body):
            yield f"shm/counter_list.h: COUNTER_{symbol} is never counted"
        if kind not in ("counter", "gauge"):
            yield f"shm/counter_list.h: {symbol}: type {kind}"
        if (kind == "counter") != metric.endswith("_total"):
            yield f"shm/counter_list.h: {metric}: counters end in _total, gauges do not"
        if metric in seen:
            yield f"shm/counter_list.h: {metric} twice"
        seen.add(metric)


def check_kinds_have_files():
    """every row of config/kind_list.h has its file workers/backend/kind_<name>.c, and the reverse"""
    kinds = {r[1] for r in rows("config/kind_list.h", "BACKEND_KIND")}
    found = {p.stem[len("kind_"):] for p in tree.code(".c", under=("workers",))
             if p.parent.name == "backend" and p.stem.startswith("kind_")}
    # A family of files may serve one kind: kind_ollama.c and kind_ollama_stream.c.
    owners = {f: next((k for k in kinds if f == k or f.startswith(k + "_")), None) for f in found}
    for kind in sorted(kinds - found):
        yield f"config/kind_list.h: no workers/backend/kind_{kind}.c"
    for name in sorted(f for f, owner in owners.items() if owner is None):
        yield f"workers/backend/kind_{name}.c: no row in config/kind_list.h"


def check_shared_structs_hold_no_pointer():
    """no struct of shm/board.h that lies on the board holds a pointer"""
    body = tree.bare("shm/board.h")
    for m in re.finditer(r"^struct (\w+) \{(.*?)^\};", body, re.M | re.S):
        if m.group(1) == "counter_row":
            continue  # the documentation of a row, not a row
        for line in m.group(2).splitlines():
            if "*" in line:
                yield f"shm/board.h: struct {m.group(1)}: {line.strip()}"


def check_no_switch_on_role():
    """nothing switches on a role: what differs between roles stands in worker_list.h"""
    for path in tree.code(".c", ".h"):
        for line, m in tree.find(r"\bswitch\s*\([^)]*\brole\b[^)]*\)|\bcase\s+ROLE_\w+", path):
            yield f"{path}:{line}: {m.group(0)}"
