#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_tokenizers.py - compares `shunt tokenize` with the package `tokenizers` on odd texts.

Runs where that package can be imported (pip install tokenizers==0.23.2, the version that made the
golden files); without it, it says so and ends well. Texts come from a seeded generator: scripts
mixed, emoji, controls, unassigned characters, long runs, added tokens cut up. Prints the first
differences of each tokenizer and exits 1 where there is any.

	compare_tokenizers.py [--shunt build/shunt] [--texts N] [--seed N] [--long] [FOLDER]...
"""
import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

try:
    import tokenizers
except ImportError:
    print("compare_tokenizers.py: skipped: the package `tokenizers` is not installed")
    sys.exit(0)

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
RANGES = [(0x20, 0x7f)] * 12 + [
    (0x00, 0x20), (0x80, 0x100), (0x100, 0x250), (0x300, 0x370), (0x370, 0x400), (0x400, 0x530),
    (0x590, 0x600), (0x600, 0x700), (0x900, 0xe00), (0xe00, 0xf00), (0x1100, 0x1200),
    (0x1e00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2400), (0x2460, 0x2500), (0x2600, 0x27c0),
    (0x2f00, 0x3100), (0x3100, 0x3400), (0x3400, 0xa000), (0xa000, 0xa900), (0xac00, 0xd7a4),
    (0xf900, 0xfb00), (0xfb00, 0xfe10), (0xfe00, 0xff00), (0xff00, 0x10000), (0x10000, 0x11000),
    (0x11000, 0x12000), (0x1d100, 0x1d800), (0x1f100, 0x1f200), (0x1f300, 0x1fb00),
    (0x20000, 0x2a6e0), (0x2f800, 0x2fa20), (0xe0000, 0xe0200), (0xf0000, 0x110000),
]
PIECES = [
    " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "\u200d", "\ufeff",
    "\ufe0f", "\u0301", "\u0308\u0301", "\u0345", "\u302e", "\u0958", "\u212b", "\ufb01", "\u0130",
    "\u1e9e", "\u03a3", "'s", "'ll", "'VE", "don't", "...", "--", "\u2014", "\u201c", "\u2581",
    "e\u0301", "a\u0323\u0307", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd", "\ud55c\uae00", "\u1112\u1161\u11ab", "1234567", "3.14", "x=y+1;", "http://a.b/c?d=e",
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[cls]", "[", "<s>", "</s>", "<mask>", "<unk>", "<pad>",
    "<extra_id_0>", "<extra_id_99>", " <mask>", "<mask> ", "<ma", "<0x0A>", "\ufffd", "\0",
    "\u0e01\u0e33", "\u0915\u094d\u0937", "\u0f0b", "\u2460\u0301", "\uff21\u0301", "antidisestablishmentarianism",
]


def characters(rng, n):
    out = []
    for _ in range(n):
        low, high = rng.choice(RANGES)
        c = rng.randrange(low, high)
        out.append(chr(c) if not 0xd800 <= c <= 0xdfff else " ")
    return "".join(out)


def word(rng):
    return "".join(rng.choice("etaoinshrdlucmfwypvbgkjqxz") for _ in range(rng.randint(1, 12)))


def one_text(rng):
    kind = rng.random()
    if kind < 0.2:
        return characters(rng, rng.randint(1, 60))
    if kind < 0.3:
        low, high = rng.choice(RANGES)
        return "".join(chr(c) if not 0xd800 <= c <= 0xdfff else "x"
                       for c in (rng.randrange(low, high) for _ in range(rng.randint(1, 40))))
    if kind < 0.4:
        return rng.choice(PIECES + [characters(rng, 1)]) * rng.randint(1, 150)
    parts = []
    for _ in range(rng.randint(1, 40)):
        pick = rng.random()
        if pick < 0.5:
            parts.append(rng.choice(["", " ", " "]) + word(rng))
        elif pick < 0.8:
            parts.append(rng.choice(PIECES))
        elif pick < 0.9:
            parts.append(word(rng).upper() if rng.random() < 0.5 else word(rng).capitalize())
        else:
            parts.append(characters(rng, rng.randint(1, 6)))
    return "".join(parts)


def long_texts(rng):
    yield "a" * 1_000_000
    yield " " * 300_000 + "x"
    yield "ab" * 250_000
    yield "\u0301" * 100_000
    yield "".join(word(rng) + " " for _ in range(150_000))
    yield "".join(word(rng) for _ in range(60_000))
    yield characters(rng, 200_000)
    yield "\u4e2d\u6587" * 100_000


def rows(args):
    rng = random.Random(args.seed)
    made = []
    for _ in range(args.texts):
        row = {"text": one_text(rng)}
        if rng.random() < 0.2:
            row["pair"] = one_text(rng)
        if rng.random() < 0.2:
            row["max_length"] = rng.randint(6, 40)
        made.append(row)
    if args.long:
        made += [{"text": t} for t in long_texts(rng)]
    return made


def reference(tokenizer, row):
    if "max_length" in row:
        old = tokenizer.truncation
        tokenizer.enable_truncation(row["max_length"])
    ids = tokenizer.encode(row["text"], row.get("pair")).ids
    if "max_length" in row:
        if old is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(**old)
    return ids


def compare(shunt, folder, made):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    given = "".join(json.dumps(r) + "\n" for r in made)
    run = subprocess.run([shunt, "tokenize", "--tokenizer", str(folder), "--jsonl"], input=given,
                         capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(f"{folder.name}: {run.stderr.strip()}")
        return False
    answers = [json.loads(line)["ids"] for line in run.stdout.splitlines()]
    bad = 0
    for row, ours in zip(made, answers, strict=True):
        theirs = reference(tokenizer, row)
        if ours == theirs:
            continue
        bad += 1
        if bad <= 5:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), 0)
            print(f"{folder.name}: {json.dumps(row)[:300]}\n  ours   {ours[max(0, at - 2):at + 12]}"
                  f" ({len(ours)})\n  theirs {theirs[max(0, at - 2):at + 12]} ({len(theirs)})")
    print(f"{folder.name}: {len(made)} texts, {bad} differ")
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shunt", default=str(ROOT / "build" / "shunt"))
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="texts of 1 MB too")
    parser.add_argument("folders", nargs="*", type=Path)
    args = parser.parse_args()
    folders = args.folders or sorted(p.parent for p in DATA.glob("**/tokenizer.json"))
    if not folders:
        print("compare_tokenizers.py: skipped: no tokenizer folder given and none in shared/data")
        return 0
    made = rows(args)
    return 0 if all([compare(args.shunt, f, made) for f in folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
