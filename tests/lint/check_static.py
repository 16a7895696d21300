# SPDX-License-Identifier: Apache-2.0
"""cppcheck, clang-tidy and shellcheck are quiet."""
import json
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tree

CLANG = Path(os.environ.get("SHUNT_CLANG_BUILD", tree.ROOT / "build/clang"))


def need(tool):
    if shutil.which(tool) is None:
        raise tree.Skip(f"{tool} is not installed")
    return tool


def check_cppcheck():
    """cppcheck finds nothing"""
    sources = [str(p) for p in tree.code(".c")]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [need("cppcheck"), "-q", "-j2", "--std=c11", "--enable=warning,performance,portability",
             "--inline-suppr", f"--library={tree.ROOT}/tests/lint/cppcheck.cfg",
             f"--suppressions-list={tree.ROOT}/tests/lint/cppcheck.txt",
             "--template={file}:{line}: {id}: {message}", "--error-exitcode=0", "-I.",
             "-D_GNU_SOURCE", f"--cppcheck-build-dir={cache}", *sources],
            cwd=tree.ROOT, capture_output=True, text=True)
    yield from (s for s in done.stderr.splitlines() if re.match(r"\S+:\d+:", s))


def tidy_one(source):
    done = subprocess.run(["clang-tidy-14", "-p", str(CLANG), "--quiet", "--warnings-as-errors=*",
                           str(tree.ROOT / source)],
                          cwd=tree.ROOT, capture_output=True, text=True)
    hits = [s.replace(str(tree.ROOT) + "/", "") for s in done.stdout.splitlines()
            if re.search(r":\d+:\d+: (error|warning):", s)]
    if done.returncode != 0 and not hits:
        hits = [f"{source}: clang-tidy failed: {(done.stderr or done.stdout)[-400:]}"]
    return hits


def check_clang_tidy():
    """clang-tidy finds nothing (checks: .clang-tidy)"""
    need("clang-tidy-14")
    commands = CLANG / "compile_commands.json"
    if not commands.exists():
        raise tree.Skip("build/clang is not set up (./bootstrap test makes it)")
    known = {os.path.realpath(Path(c["directory"]) / c["file"])
             for c in json.loads(commands.read_text())}
    sources = [p for p in tree.code(".c") if os.path.realpath(tree.ROOT / p) in known]
    with ThreadPoolExecutor(2) as pool:
        for hits in pool.map(tidy_one, sources):
            yield from hits


def check_every_source_is_built():
    """every C file of the product is in a meson.build"""
    commands = tree.built() / "compile_commands.json"
    known = {os.path.realpath(Path(c["directory"]) / c["file"])
             for c in json.loads(commands.read_text())}
    for path in tree.code(".c", ".cc", ".cpp"):
        if os.path.realpath(tree.ROOT / path) not in known:
            yield f"{path}: no target builds it"


def check_shellcheck():
    """shellcheck is quiet on every shell script"""
    scripts = [str(p) for p in tree.files()
               if re.match(r"#!.*\b(ba)?sh\b", tree.text(p).split("\n", 1)[0])]
    done = subprocess.run([need("shellcheck"), "--format=gcc", *scripts], cwd=tree.ROOT,
                          capture_output=True, text=True)
    yield from done.stdout.splitlines()
