# SPDX-License-Identifier: Apache-2.0
"""Words that may not stand in the project."""
import re

import tree

BANNED = {
    "sprintf": "snprintf or buf_addf", "vsprintf": "vsnprintf", "strcpy": "snprintf or memcpy",
    "strcat": "buf_add_str", "strncpy": "snprintf", "strncat": "buf_add", "atoi": "strtol with checks",
    "atol": "strtol with checks", "atof": "strtod with checks", "system": "posix_spawn or fork",
    "popen": "pipe and fork", "gets": "fgets", "strtok": "strtok_r or a loop", "alloca": "buf",
    "tmpnam": "mkstemp", "mktemp": "mkstemp", "signal": "sigaction", "asctime": "strftime",
    "sleep": "a timer of the loop", "usleep": "a timer of the loop",
    "nanosleep": "a timer of the loop", "gethostbyname": "getaddrinfo", "setjmp": "an error code",
    "longjmp": "an error code", "rand": "a seeded generator", "srand": "a seeded generator",
}
# Built of pieces, so that this file does not hold what it forbids.
HOSTS = [r"pypi\." + "org", r"pythonhosted\." + "org", r"registry\.npm" + r"js", r"npmjs\." + "org",
         r"deb\.debian\." + "org", r"crates\." + r"io/", r"proxy\.golang\." + "org",
         r"maven\." + r"org"]
PATHS = [r"(?<![\w.])/work" + r"/(?:main|shared|\.)", r"(?<![\w.])/root" + r"/", r"/home/" + r"\w+/"]


def check_banned_calls():
    """no unsafe, blocking or unseeded C library call"""
    names = "|".join(BANNED)
    for path in tree.code(".c", ".h", ".cc", ".cpp"):
        for line, m in tree.find(rf"(?<![\w.>])({names})\s*\(", path):
            yield f"{path}:{line}: {m.group(1)}: use {BANNED[m.group(1)]}"


def check_tests_use_public_headers():
    """no file includes a .c file"""
    for path in tree.code(".c", ".h", ".cc", ".cpp", under=tree.CODE + ("tests", "bench")):
        for line, name in tree.includes(path):
            if name.endswith((".c", ".cc", ".cpp")):
                yield f"{path}:{line}: includes {name}"


def check_open_ends():
    """no TODO without an issue number, no commented-out code marker"""
    for path in tree.code(".c", ".h", ".cc", ".cpp"):
        for line, m in tree.find(r"\b(TODO|FIXME|XXX|HACK)\b(?!\s*\(?#\d+)", path,
                                 source=tree.text(path)):
            yield f"{path}:{line}: {m.group(1)} without an issue number"
        for line, _ in tree.find(r"^\s*#\s*if\s+0\b", path, re.M):
            yield f"{path}:{line}: #if 0"


def check_no_ifdef_inside_functions():
    """no #if inside a function of the product"""
    spans = {}
    for f in tree.functions():
        spans.setdefault(f["path"], []).append((f["line"], f["end"], f["name"]))
    for path in tree.code(".c"):
        for line, m in tree.find(r"^[ \t]*#[ \t]*(if|ifdef|ifndef)\b", path, re.M):
            for begin, end, name in spans.get(path, []):
                if begin < line < end:
                    yield f"{path}:{line}: #{m.group(1)} inside {name}"


def check_no_registry_host_or_machine_path():
    """no tracked file names a package registry's host or a path of one machine"""
    for path in tree.files():
        if path.parts[0] == "LICENSE" or "corpus" in path.parts:
            continue
        for line, m in tree.find("|".join(HOSTS + PATHS), path, source=tree.text(path)):
            yield f"{path}:{line}: {m.group(0)}"


def check_no_stray_bytes():
    """text files end with a newline, without trailing blanks and carriage returns"""
    for path in tree.files():
        if path.suffix not in (".c", ".h", ".py", ".sh", ".md", ".build", ".yaml", ".fbs", ".cc"):
            continue
        if "corpus" in path.parts:
            continue
        body = tree.text(path)
        if body and not body.endswith("\n"):
            yield f"{path}: no newline at the end"
        for line, _ in tree.find(r"[ \t\r]+$", path, re.M, source=body):
            yield f"{path}:{line}: blanks at the end of the line"
