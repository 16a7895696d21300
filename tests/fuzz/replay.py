#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""replay.py - runs every fuzz target over its corpus, one TAP line per target; may explore after.

The programs lie in $SHUNT_BUILD/tests/fuzz. A target without a corpus fails: it would test nothing.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = Path(os.environ.get("SHUNT_BUILD", ROOT / "build/clang"))
FINDINGS = ROOT / "build/fuzz-findings"


def declared_targets():
    """The keys of the table in meson.build that have a source file."""
    table = (HERE / "meson.build").read_text().split("fuzz_targets = {", 1)[1].split("\n}", 1)[0]
    return re.findall(r"^\s*'(\w+)':", table, re.M)


def tap(number, name, problem):
    print(f"{'not ok' if problem else 'ok'} {number} - {name}", flush=True)
    for line in (problem or "").splitlines():
        print(f"# {line}")


def run_target(name, options, limit_s):
    """What went wrong, or None."""
    program = BUILD / "tests/fuzz" / f"fuzz_{name}"
    corpus = HERE / "corpus" / name
    if not program.exists():
        return f"{program} was not built"
    if not corpus.is_dir() or not any(corpus.iterdir()):
        return f"{corpus.relative_to(ROOT)} holds no input"
    (FINDINGS / name).mkdir(parents=True, exist_ok=True)
    # New inputs of an exploration go to the first folder; the tracked corpus is only read.
    command = [program, f"-artifact_prefix={FINDINGS / name}/", "-rss_limit_mb=2048", "-timeout=10",
               *options, FINDINGS / name / "corpus", corpus]
    (FINDINGS / name / "corpus").mkdir(exist_ok=True)
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return f"still running after {limit_s} s"
    if done.returncode != 0:
        return f"exit status {done.returncode}\n" + done.stderr.decode(errors="replace")[-4000:]
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--explore", type=int, default=0, metavar="SECONDS")
    args = p.parse_args()
    number, bad = 0, 0
    targets = declared_targets()
    sources = sorted(f.stem[len("fuzz_"):] for f in HERE.glob("fuzz_*.c"))
    number += 1
    missing = set(targets) ^ set(sources)
    tap(number, "every fuzz_<name>.c has its row in meson.build",
        f"one without the other: {', '.join(sorted(missing))}" if missing else None)
    bad += bool(missing)
    for name in sorted(set(targets) & set(sources)):
        number += 1
        problem = run_target(name, ["-runs=0"], 120)
        tap(number, f"corpus of {name} replays", problem)
        bad += problem is not None
        if args.explore and problem is None:
            number += 1
            problem = run_target(name, [f"-max_total_time={args.explore}"], args.explore + 60)
            tap(number, f"{args.explore} s of exploring {name} find nothing", problem)
            bad += problem is not None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
