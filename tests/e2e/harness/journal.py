# SPDX-License-Identifier: Apache-2.0
"""journal.py - the journal of a daemon under test, read by code that shares nothing with its writer."""
import json
import zlib
from collections import Counter


def folder(d):
    return d.home / "state" / "journal"


def lines(d):
    for path in sorted(folder(d).glob("journal-*.jsonl")):
        yield from path.read_bytes().rpartition(b"\n")[0].splitlines()  # the rest is under way


def records(d, kind=None):
    """Every record, its checksum verified by code that shares nothing with the writer's."""
    out = []
    for line in lines(d):
        r = json.loads(line)
        body = line[len(b'{"crc":"00000000",'):]
        assert f"{zlib.crc32(body):08x}" == r["crc"], line
        if kind in (None, r["kind"]):
            out.append(r)
    return out


def ids(d):
    return Counter(r["id"] for r in records(d, "request"))
