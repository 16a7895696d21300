# SPDX-License-Identifier: Apache-2.0
"""How long functions and files may be, and how a file begins."""
import re
import statistics

import tree

LONG_FUNCTION, LONGEST_FUNCTION, SHORT_SHARE = 60, 120, 0.93
LONGEST_FILE, MEDIAN_FILE = 700, 350
# Numeric forward passes may be long; named here one by one.
FORWARD_PASSES = set()


def length(f):
    return f["end"] - f["line"] + 1


def check_function_size():
    """at least 93 % of functions have at most 60 lines, none more than 120"""
    rows = [f for f in tree.functions() if f["name"] not in FORWARD_PASSES]
    if not rows:
        yield "ctags found no function"
        return
    for f in rows:
        if length(f) > LONGEST_FUNCTION:
            yield f"{f['path']}:{f['line']}: {f['name']} has {length(f)} lines"
    long = sorted((f for f in rows if length(f) > LONG_FUNCTION), key=length, reverse=True)
    if len(long) > (1 - SHORT_SHARE) * len(rows):
        yield f"{len(long)} of {len(rows)} functions have more than {LONG_FUNCTION} lines:"
        for f in long:
            yield f"  {f['path']}:{f['line']}: {f['name']} {length(f)}"


def check_file_size():
    """no .c file has more than 700 lines, and the median is at most 350"""
    sizes = {p: tree.text(p).count("\n") for p in tree.code(".c", ".cc", ".cpp")}
    for path, lines in sizes.items():
        if lines > LONGEST_FILE:
            yield f"{path}: {lines} lines"
    if statistics.median(sizes.values()) > MEDIAN_FILE:
        yield f"the median .c file has {statistics.median(sizes.values()):.0f} lines"


def check_file_heads():
    """every C file begins with its licence line and `name - purpose`"""
    for path in tree.code(".c", ".h", ".cc", ".cpp", under=tree.CODE + ("tests", "bench")):
        lines = tree.text(path).split("\n", 4)
        if not lines[0].startswith("/* SPDX-License-Identifier: Apache-2.0 */"):
            yield f"{path}:1: no SPDX line"
        if not re.match(rf" \* {re.escape(path.name)} - \S", (lines + ["", "", ""])[2]):
            yield f"{path}:3: no ` * {path.name} - purpose`"


def check_worker_heads():
    """the main file of each worker says how it runs, what it handles, writes and leaves behind"""
    for path in tree.code(".c", under=("workers",)):
        if path.stem != path.parent.name or path.parent.name == "common":
            continue
        head = tree.text(path).split("*/", 2)[1]
        for word in ("Runs as", "Handles", "Sends", "Writes", "If it dies"):
            if word not in head:
                yield f"{path}: its head does not say `{word}`"


def check_one_name_per_worker_folder():
    """workers/<role>/ holds <role>.c with its main and one handler table"""
    for folder in sorted({p.parent for p in tree.code(".c", under=("workers",))}):
        if folder.name == "common":
            continue
        main = folder / f"{folder.name}.c"
        if not (tree.ROOT / main).is_file():
            yield f"{folder}: no {main.name}"
        elif not re.search(r"^main\(", tree.bare(main), re.M):
            yield f"{main}: no main"
