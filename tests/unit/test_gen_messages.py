#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_gen_messages.py - a schema that C could not hold is refused with its line (TAP)

Usage: test_gen_messages.py GEN_MESSAGES.py SHUNT.fbs
"""

import os
import subprocess
import sys
import tempfile

GOOD = """namespace shunt;
enum Role : ubyte { None, Gateway }
struct Head { request_id:ulong; sender_role:Role; }
table Ping {
  name:string;   // max 10
  role:Role;
  big:bool;
}
union Body { Ping }
table Message { head:Head (required); body:Body (required); }
root_type Message;
file_identifier "SHNT";
"""

# name, text of GOOD, what stands there instead, the line that is named, what is said about it
FAULTS = [
    ("a string without a limit", "// max 10", "", 5, '"max N"'),
    ("a limit of nothing", "max 10", "max 0", 5, "1 to 4096"),
    ("a vector", "big:bool", "big:[bool]", 7, "vectors"),
    ("a default", "big:bool", "big:bool = true", 7, "defaults"),
    ("an unknown type", "big:bool", "big:Thing", 7, "type Thing"),
    ("a field twice", "big:bool", "role:Role", 7, "twice"),
    ("a string in the head", "request_id:ulong", "request_id:string", 3, "not supported here"),
    ("a wide enum", "Role : ubyte", "Role : uint", 2, "ubyte"),
    ("a set enum value", "None,", "None = 4,", 2, "can't be set"),
    ("a table outside the union", "union Body { Ping }",
     "table Pong { a:int; }\nunion Body { Ping }", 9, "missing in union Body"),
    ("a union member without table", "{ Ping }", "{ Ping, Pong }", 9, "no message table"),
    ("a union member twice", "{ Ping }", "{ Ping, Ping }", 9, "twice"),
    ("an optional body", "body:Body (required)", "body:Body", 10, "Message must be"),
    ("an unknown declaration", "root_type Message", "rpc_service Message", 11, "rpc_service"),
    ("a missing semicolon", "sender_role:Role;", "sender_role:Role", 3, "; is due"),
    ("a strange character", "big:bool", "b%g:bool", 7, "'%'"),
    ("a long file identifier", '"SHNT"', '"SHUNT"', 1, "4 characters"),
]


def generate(gen, text, folder):
    schema = os.path.join(folder, "s.fbs")
    with open(schema, "w", encoding="utf-8") as f:
        f.write(text)
    out = [os.path.join(folder, n) for n in ("m.h", "m.cc")]
    run = subprocess.run([sys.executable, gen, schema, *out], capture_output=True, text=True,
                         timeout=60, check=False)
    return run, schema, out


def refused(gen, fault, folder):
    _, old, new, line, words = fault
    assert GOOD.count(old) == 1, old
    run, schema, _ = generate(gen, GOOD.replace(old, new), folder)
    said = run.stderr.strip()
    return run.returncode == 1 and said.startswith(f"{schema}:{line}: ") and words in said, said


def report(number, good, name, said):
    print(f"{'ok' if good else 'not ok'} {number} - gen_messages: {name}")
    if not good:
        print("# " + said.replace("\n", "\n# "))


def main():
    gen, shipped = sys.argv[1:]
    print(f"1..{len(FAULTS) + 2}")
    with tempfile.TemporaryDirectory() as folder:
        for i, fault in enumerate(FAULTS, 1):
            good, said = refused(gen, fault, folder)
            report(i, good, fault[0] + " is refused", said)
        run, _, out = generate(gen, GOOD, folder)
        report(len(FAULTS) + 1, run.returncode == 0 and os.path.exists(out[0]),
               "the least schema passes", run.stderr)
        with open(shipped, encoding="utf-8") as f:
            run, _, out = generate(gen, f.read(), folder)
        report(len(FAULTS) + 2, run.returncode == 0, "the shipped schema passes", run.stderr)


if __name__ == "__main__":
    main()
