# SPDX-License-Identifier: Apache-2.0
"""Who may include whom."""
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import tree

# Folder -> what its files may include besides themselves; a name ending in .h is that one file.
# One deliberate deviation from the first design: lib/routing sees the types of config.
ALLOWED = {
    "lib/base": [],
    "lib/fault": ["lib/base"],
    "lib/sim": ["lib/base"],
    "lib/breaker": ["lib/base"],
    "lib/queue": ["lib/base"],
    "config": ["lib/base", "lib/fault"],
    "lib/chaos": ["lib/base", "lib/fault", "lib/sim", "config"],
    "shm": ["lib/base", "lib/fault"],
    "lib/ledger": ["lib/base"],
    "lib/encoder": ["lib/base", "shm"],
    "lib/routing": ["lib/base", "config"],
    "lib/lab": ["lib/base", "config", "lib/routing", "lib/encoder"],
    "schemas": ["lib/base"],
    "workers": [],
    "workers/common": ["lib/base", "lib/fault", "config", "shm", "schemas", "lib/routing",
                       "workers/role.h", "workers/worker_list.h"],
    "supervisor": ["lib/base", "lib/fault", "config", "shm", "workers/role.h",
                   "workers/worker_list.h"],
    "cli": ["lib/base", "lib/fault", "lib/chaos", "config", "shm", "lib/routing", "lib/encoder", "lib/lab",
            "schemas", "workers/role.h", "workers/worker_list.h", "lib/ledger"],
}
WORKER = ["lib/base", "lib/breaker", "lib/fault", "lib/queue", "lib/sim", "config", "shm", "schemas",
          "lib/routing", "lib/encoder", "lib/ledger", "workers/common", "workers/role.h",
          "workers/worker_list.h"]
# Generated from schemas/shunt.fbs and schemas/gen_messages.py into the build folder.
GENERATED = {"shunt_msg.h": "schemas/shunt_msg.h", "shunt_generated.h": "schemas/shunt_generated.h",
             "schemas/shunt_msg.h": "schemas/shunt_msg.h",
             "schemas/shunt_generated.h": "schemas/shunt_generated.h"}


def folder_of(path):
    parts = Path(path).parts
    if parts[0] in ("lib", "workers") and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def may_include(folder, target):
    allowed = ALLOWED.get(folder, WORKER if folder.startswith("workers/") else None)
    if allowed is None:
        return False
    if folder == "workers" and target in ("workers/role.h", "workers/worker_list.h"):
        return True
    return target in allowed or folder_of(target) in allowed + [folder]


def product_includes():
    """(path, line, target from the project root) of every include of one of our own files."""
    for path in tree.code(".c", ".h", ".cc", ".cpp"):
        for line, name in tree.includes(path):
            if name == "workers/role.h" or name in GENERATED or (tree.ROOT / name).is_file():
                yield path, line, GENERATED.get(name, name)
            else:
                yield path, line, None


def check_layers():
    """lower layers never include upper ones, and includes are written from the project root"""
    for path, line, target in product_includes():
        if target is None:
            yield f"{path}:{line}: no such file from the project root"
        elif not may_include(folder_of(path), target):
            yield f"{path}:{line}: {folder_of(path)} may not include {target}"


def check_siblings():
    """a worker folder never includes another worker's folder"""
    for path, line, target in product_includes():
        if target and folder_of(path).startswith("workers/") and target.startswith("workers/"):
            other = folder_of(target)
            if other not in (folder_of(path), "workers/common", "workers"):
                yield f"{path}:{line}: includes {target} of a sibling role"


def check_private_headers():
    """a worker folder has at most one header, included only from there and from tests"""
    headers = defaultdict(list)
    for path in tree.code(".h", under=("workers",)):
        if len(path.parts) > 2 and path.parts[1] != "common":
            headers[folder_of(path)].append(path)
    for folder, paths in sorted(headers.items()):
        if len(paths) > 1:
            yield f"{folder}: {len(paths)} headers: {', '.join(p.name for p in paths)}"
        for user, line, target in product_includes():
            if target in map(str, paths) and folder_of(user) != folder:
                yield f"{user}:{line}: {target} is private to {folder}"


def check_headers_compile_alone():
    """every header compiles on its own and is guarded by #pragma once"""
    build = tree.built()
    for path in tree.code(".h"):
        if path.name.endswith("_list.h"):
            continue  # tables of macros: included many times, on purpose
        if "#pragma once" not in tree.text(path):
            yield f"{path}:1: no #pragma once"
        # What kernels share is for files compiled for a vector unit (lib/encoder/meson.build).
        vectors = ["-mavx2", "-mfma"] if str(path).startswith("lib/encoder/kernel_") else []
        done = subprocess.run(
            ["gcc", *vectors, "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             "-I.", f"-I{build}", f"-I{build / 'schemas'}", "-x", "c", "-"],
            input=f'#include "{path}"\n', cwd=tree.ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            yield f"{path}: does not compile alone\n{done.stderr[:800]}"


def check_ignorant_supervisor():
    """the supervisor knows no ZeroMQ, no bus, no lock and no thread"""
    for path in tree.code(".c", ".h", under=("supervisor",)):
        for line, m in tree.find(r"\w*(zmq|pthread|mutex)\w*|bus\.h|threads\.h", path,
                                 source=tree.no_comments(path)):
            yield f"{path}:{line}: {m.group(0)}"
    meson = tree.ROOT / "supervisor/meson.build"
    for word in re.findall(r"zmq_dep|thread_dep|curl_dep|worker_dep|msg_dep", meson.read_text()):
        yield f"supervisor/meson.build: links {word}"


def check_generated_readers_stay_in_schemas():
    """only schemas/ knows the FlatBuffers library"""
    for path in tree.code(".c", ".h", ".cc", ".cpp"):
        if path.parts[0] == "schemas":
            continue
        for line, m in tree.find(r"flatbuffers|shunt_generated\.h|flatcc", path,
                                 source=tree.no_comments(path)):
            yield f"{path}:{line}: {m.group(0)}"
