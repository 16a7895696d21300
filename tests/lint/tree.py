# SPDX-License-Identifier: Apache-2.0
"""tree.py - what the checks share: the project's files, their text, ctags, the build folder."""
import functools
import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("SHUNT_BUILD", ROOT / "build")).resolve()

# Folders of product code, lowest layer first.
CODE = ("lib", "config", "shm", "schemas", "workers", "supervisor", "cli")


class Skip(Exception):
    """A check that can't run here, and why."""


@functools.cache
def files():
    """Every file of the project that git tracks or would track, relative to ROOT, sorted."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         cwd=ROOT, capture_output=True, check=True).stdout
    names = sorted(set(out.decode().split("\0")) - {""})
    return [Path(n) for n in names if (ROOT / n).is_file()]


def code(*suffixes, under=CODE):
    return [p for p in files() if p.suffix in suffixes and p.parts[0] in under]


@functools.cache
def text(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


@functools.cache
def bare(path):
    """The text of a C file with comments and string contents blanked, line numbers kept."""
    def blank(m):
        s = m.group(0)
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[-1] if "#include" not in s else s
        return re.sub(r"[^\n]", " ", s)
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    return re.sub(pattern, blank, text(path), flags=re.S)


def no_comments(path):
    """The text without comments; strings stay."""
    def blank(m):
        s = m.group(0)
        return s if s[0] in "\"'" else re.sub(r"[^\n]", " ", s)
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    return re.sub(pattern, blank, text(path), flags=re.S)


def find(pattern, path, flags=0, source=None):
    """(line number, match) of each hit."""
    body = bare(path) if source is None else source
    for m in re.finditer(pattern, body, flags):
        yield body.count("\n", 0, m.start()) + 1, m


def includes(path):
    """(line number, name) of each #include "..." from the project root."""
    for n, m in find(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', path, re.M, no_comments(path)):
        yield n, m.group(1)


@functools.cache
def functions():
    """Every function definition of the product: dicts with name, path, line, end, static."""
    paths = code(".c", ".cc", ".cpp")
    out = subprocess.run(
        ["ctags", "--output-format=json", "--kinds-C=f", "--kinds-C++=f", "--fields=+neKS", "-f",
         "-", "-L", "-"], input="\n".join(map(str, paths)), cwd=ROOT, capture_output=True,
        check=True, text=True).stdout
    rows = []
    for line in out.splitlines():
        tag = json.loads(line)
        if tag.get("kind") == "function" and "end" in tag:
            rows.append({"name": tag["name"], "path": Path(tag["path"]), "line": tag["line"],
                         "end": tag["end"], "static": bool(tag.get("file"))})
    return rows


def built():
    if not (BUILD / "build.ninja").exists():
        raise Skip(f"{BUILD} is no build folder (./bootstrap build makes one)")
    return BUILD
