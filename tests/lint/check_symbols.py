# SPDX-License-Identifier: Apache-2.0
"""What a file exports and which memory it writes."""
import re
import subprocess

import tree

# Writable data of the product, each with its reason. Nothing else may outlive a function call.
GLOBALS = {
    "log_state": "who speaks, the level in force, text or JSON",
    "panic_text": "a signal handler has no other way to its row",
    "panic_size": "likewise",
    "blas_lib": "OpenBLAS's functions, looked up once, when first wanted",
    "cpu_found": "what the CPU has, looked up once; a second look finds the same",
    "interrupted": "the command line's signal flag while it computes",
    "clock_shift_s": "the clock_jump fault: every caller's wall clock is off alike",
}


def nouns(f):
    """Beginnings that an external name may have: of its file, folder, header and that one's types."""
    path = f["path"]
    names = {path.stem, path.parent.name, *path.stem.split("_")}
    for header in tree.code(".h"):
        if header.parent == path.parent and re.search(rf"\b{f['name']}\s*\(", tree.bare(header)):
            names |= {header.stem, *header.stem.split("_")}
            names |= set(re.findall(r"^(?:struct|enum) (\w+)", tree.bare(header), re.M))
    return names


def begins_with_noun(name, allowed):
    """noun, noun_verb, or nouns_verb where the function deals with all of them."""
    return any(name == n or name.startswith((n + "_", n + "s_")) for n in allowed)


def check_names():
    """external functions begin with their file's, folder's or type's noun"""
    for f in tree.functions():
        if f["static"] or f["name"] == "main" or f["path"].suffix != ".c":
            continue
        allowed = nouns(f)
        if not begins_with_noun(f["name"], allowed):
            yield f"{f['path']}:{f['line']}: {f['name']} begins with none of {sorted(allowed)}"


def check_static_or_declared():
    """every function that is not static is declared in a header"""
    headers = "\n".join(tree.bare(p) for p in tree.code(".h"))
    for f in tree.functions():
        if f["static"] or f["name"] == "main" or f["path"].suffix != ".c":
            continue
        if not re.search(rf"\b{f['name']}\s*\(", headers):
            yield f"{f['path']}:{f['line']}: {f['name']} is in no header: make it static"


def writable_symbols(objects):
    """(object, section, symbol) of every object-sized symbol in writable memory."""
    out = subprocess.run(["objdump", "-t", *objects], capture_output=True, text=True,
                         check=True).stdout
    current = ""
    for line in out.splitlines():
        if ":     file format" in line:
            current = line.split(":", 1)[0]
        m = re.match(r"[0-9a-f]+ .{6}O (\S+)\t[0-9a-f]+\s+(?:\.hidden )?(\S+)$", line)
        if m and re.match(r"\.(data|bss|tbss|tdata)(?!\.rel\.ro)|\*COM\*", m.group(1)):
            yield current, m.group(1), m.group(2)


def check_globals():
    """writable globals are on the short list of tests/lint/check_symbols.py"""
    build = tree.built()
    objects = [str(p) for folder in tree.CODE for p in build.glob(f"{folder}/**/*.c.o")]
    objects += [str(p) for p in build.glob("*.p/*.c.o")]
    if not objects:
        raise tree.Skip(f"no object file in {build}")
    for where, section, symbol in writable_symbols(objects):
        name = re.sub(r"\.\d+$", "", symbol)
        if name not in GLOBALS and not name.startswith("__"):
            yield f"{where.removeprefix(str(build) + '/')}: {name} in {section}"
