#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_tokenizers.py - compares `shunt tokenize` with the package `tokenizers` on odd texts.

Runs where that package can be imported (pip install tokenizers==0.23.2, the version that made the
golden files); without it, it says so and ends well. Texts come from a seeded generator: scripts
mixed, emoji, controls, unassigned characters, long runs, added tokens cut up. Prints the first
differences of each tokenizer and exits 1 where there is any.

	compare_tokenizers.py [--shunt build/shunt] [--texts N] [--seed N] [--long] [--made] [FOLDER]...

--made compares small tokenizers that are trained here, one for each component that the files in
shared/data do not use. What PCRE2's \\p{L} and \\d know of characters newer than Unicode 14 is not
what the reference's pattern library knows: a split by pattern can differ on those.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
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


GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def made_parts():
    """name -> (model, normalizer, pre-tokenizer, post-processor)"""
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
    bpe = {"unk_token": "<unk>"}
    byte = pre_tokenizers.ByteLevel
    parts = {
        "bpe-metaspace-first": (models.BPE(**bpe, fuse_unk=True), None,
                                pre_tokenizers.Metaspace(prepend_scheme="first"), None),
        "bpe-metaspace-never": (models.BPE(**bpe), normalizers.NFKC(),
                                pre_tokenizers.Metaspace(prepend_scheme="never", split=False), None),
        "bpe-fallback": (models.BPE(**bpe, byte_fallback=True, fuse_unk=True),
                         normalizers.Sequence([normalizers.Prepend("\u2581"),
                                               normalizers.Replace(" ", "\u2581")]), None, None),
        "bpe-gpt4": (models.BPE(), normalizers.NFC(), pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(GPT4), "isolated"),
            byte(add_prefix_space=False, use_regex=False)]), processors.ByteLevel()),
        "bpe-ignore-merges": (models.BPE(ignore_merges=True), None, byte(add_prefix_space=True),
                              processors.RobertaProcessing(("</s>", 1), ("<s>", 0))),
        "bpe-affixes": (models.BPE(**bpe, continuing_subword_prefix="##", end_of_word_suffix="</w>"),
                        normalizers.Lowercase(), pre_tokenizers.Whitespace(), None),
        "wordlevel": (models.WordLevel(unk_token="<unk>"), normalizers.Sequence([
            normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()]),
            pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)]),
            processors.BertProcessing(("</s>", 1), ("<s>", 0))),
        "wordlevel-nmt": (models.WordLevel(unk_token="<unk>"), normalizers.Sequence([
            normalizers.Nmt(), normalizers.NFKD()]), pre_tokenizers.Sequence([
                pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(False),
                pre_tokenizers.Punctuation("merged_with_previous")]), None),
        "bert-cased": (models.WordPiece(unk_token="<unk>"), normalizers.BertNormalizer(
            lowercase=False, strip_accents=True), pre_tokenizers.BertPreTokenizer(), None),
        "bert-accents": (models.WordPiece(unk_token="<unk>"), normalizers.BertNormalizer(
            lowercase=True, strip_accents=False, handle_chinese_chars=False, clean_text=False),
            pre_tokenizers.BertPreTokenizer(), None),
        "unigram-replace": (models.Unigram(), normalizers.Sequence([
            normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=False, right=True)]),
            pre_tokenizers.Metaspace(), None),
    }
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            parts[f"split-{behavior}-{invert}"] = (
                models.BPE(**bpe), None,
                pre_tokenizers.Split(Regex(r"[aeiou\s]|[0-9]+"), behavior, invert), None)
    return parts


def make(folder, rng):
    """Train each of made_parts on generated texts; the folders."""
    from tokenizers import AddedToken, Tokenizer, trainers
    trainer = {"BPE": trainers.BpeTrainer, "WordLevel": trainers.WordLevelTrainer,
               "WordPiece": trainers.WordPieceTrainer, "Unigram": trainers.UnigramTrainer}
    texts = [one_text(rng)[:400] for _ in range(1500)]
    for name, (model, normalizer, splitter, post) in made_parts().items():
        t = Tokenizer(model)
        for key, part in (("normalizer", normalizer), ("pre_tokenizer", splitter),
                          ("post_processor", post)):
            if part is not None:
                setattr(t, key, part)
        kind = type(model).__name__
        more = {"unk_token": "<unk>"} if kind == "Unigram" else {}
        if kind == "BPE":
            more["continuing_subword_prefix"] = model.continuing_subword_prefix or ""
            more["end_of_word_suffix"] = model.end_of_word_suffix or ""
        specials = ["<s>", "</s>", "<unk>"] + [f"<0x{i:02X}>" for i in range(256)]
        few = [x for x in texts if max(x, default="a") < "\u0250"]  # as few characters as Unigram needs
        t.train_from_iterator(few if kind == "Unigram" else texts, trainer[kind](
            vocab_size=4000, special_tokens=specials if "fallback" in name else specials[:3],
            show_progress=False, **more))
        t.add_tokens([AddedToken("Don't", single_word=True), AddedToken(" x", rstrip=True),
                      AddedToken("<extra_id_0>", lstrip=True, normalized=False)])
        (folder / name).mkdir()
        t.save(str(folder / name / "tokenizer.json"))
    return sorted(p for p in folder.iterdir())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shunt", default=str(ROOT / "build" / "shunt"))
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="texts of 1 MB too")
    parser.add_argument("--made", action="store_true", help="small trained tokenizers too")
    parser.add_argument("folders", nargs="*", type=Path)
    args = parser.parse_args()
    folders = args.folders or sorted(p.parent for p in DATA.glob("**/tokenizer.json"))
    if not folders:
        print("compare_tokenizers.py: skipped: no tokenizer folder given and none in shared/data")
        return 0
    made = rows(args)
    with tempfile.TemporaryDirectory() as place:
        if args.made:
            folders = [*folders, *make(Path(place), random.Random(args.seed))]
        return 0 if all([compare(args.shunt, f, made) for f in folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
