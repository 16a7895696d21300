#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py - runs every check of this folder; TAP on standard output.

A check is a function check_* in a module check_*.py; its docstring is its name; it yields one line
per fault ("path:line: what"), or raises tree.Skip with the reason. Arguments: only checks whose
name contains one of them. $SHUNT_BUILD is a built build folder (default build).
"""
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import tree  # noqa: E402


def all_checks():
    for path in sorted(Path(__file__).resolve().parent.glob("check_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            if name.startswith("check_") and callable(function):
                yield name, function


def run_one(number, function):
    title = function.__doc__.strip().splitlines()[0]
    begun = time.monotonic()
    try:
        faults = list(function())
    except tree.Skip as skip:
        print(f"ok {number} - {title} # skip {skip}", flush=True)
        return True
    print(f"{'not ok' if faults else 'ok'} {number} - {title}", flush=True)
    for fault in faults:
        for line in str(fault).splitlines():
            print(f"#   {line}")
    print(f"# {time.monotonic() - begun:.1f} s", flush=True)
    return not faults


def main():
    wanted = sys.argv[1:]
    chosen = [f for n, f in all_checks() if not wanted or any(w in n for w in wanted)]
    if not chosen:
        sys.exit("no such check")
    good = [run_one(i, f) for i, f in enumerate(chosen, 1)]
    print(f"1..{len(good)}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
