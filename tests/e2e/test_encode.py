# SPDX-License-Identifier: Apache-2.0
"""`shunt encode`: lines in, embeddings or class scores out; what is wrong with a model is told."""
import json
import math
import os
import shutil
import subprocess

import pytest
from harness.paths import BUILD, ROOT

FIXTURES = ROOT / "tests/fixtures/encoder"
# Ids of the fixtures end at 40; any words do.
WORDS = {"pre_tokenizer": {"type": "WhitespaceSplit"},
         "model": {"type": "WordLevel", "unk_token": "?",
                   "vocab": {"?": 0, **{f"w{i}": i for i in range(1, 40)}}}}


@pytest.fixture
def model(tmp_path):
    def make(name):
        folder = tmp_path / name
        shutil.copytree(FIXTURES / name, folder)
        (folder / "tokenizer.json").write_text(json.dumps(WORDS))
        return folder, [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]
    return make


def encode(folder, given, *more):
    return subprocess.run([BUILD / "shunt", "encode", "--model", folder, *more], input=given,
                          capture_output=True, timeout=60, check=False, text=True)


def words(row):
    return " ".join(f"w{i}" if i else "?" for i in row["ids"])


def plain(rows):
    return [row for row in rows if not any(row.get("type_ids", [0]))]


def test_a_classifier_gives_logits_label_and_win_rate(model):
    folder, rows = model("xlm-roberta-classifier")
    done = encode(folder, "\n".join(map(words, rows)) + "\n")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers):
        assert answer["logits"] == pytest.approx(row["logits"], abs=1e-4)
        odds = [math.exp(v) for v in row["logits"]]
        assert answer["win_rate"] == pytest.approx(odds[0] / sum(odds), abs=1e-4)
        assert answer["label"] == ["strong", "tie", "weak"][max(range(3), key=row["logits"].__getitem__)]


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_pool_chooses_what_an_embedding_is(model, pool):
    folder, rows = model("bert-relu-old-names")
    rows = plain(rows)
    done = encode(folder, "".join(json.dumps({"text": words(row)}) + "\n" for row in rows), "--jsonl",
                  "--pool", pool)
    assert done.returncode == 0, done.stderr
    for row, line in zip(rows, done.stdout.splitlines(), strict=True):
        assert json.loads(line)["embedding"] == pytest.approx(row[pool], abs=1e-4)


def test_longer_texts_than_the_model_takes_are_cut(model):
    folder, _ = model("roberta")
    long, cut = (encode(folder, " ".join(["w7"] * n)) for n in (5000, 32))
    assert long.returncode == cut.returncode == 0, long.stderr
    assert long.stdout == cut.stdout


def test_an_embedding_is_of_all_that_the_model_takes_whatever_the_tokenizer_cuts(model):
    """all-MiniLM-L6-v2: 256 by sentence_bert_config.json, 128 by tokenizer.json."""
    folder, _ = model("bert-mean")
    texts = "".join(" ".join(["w7"] * n) + "\n" for n in (16, 17, 5))
    (folder / "tokenizer.json").write_text(json.dumps({**WORDS, "truncation": {
        "max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}}))
    done = encode(folder, texts)
    assert done.returncode == 0, done.stderr
    sixteen, seventeen, five = done.stdout.splitlines()
    assert sixteen == seventeen != five


def test_a_model_that_cannot_be_used_is_told(model):
    folder, _ = model("roberta")
    assert "--dtype q4: must be f32, bf16 or i8" in encode(folder, "", "--dtype", "q4").stderr
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json: missing" in encode(folder, "").stderr
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    done = encode(folder, "")
    assert done.returncode == 1 and "model.safetensors: tensor" in done.stderr
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    assert "LlamaForCausalLM (model_type llama) is not supported; supported: bert" in encode(folder, "").stderr


def test_a_pipe_is_no_file_of_a_model(model):
    folder, _ = model("roberta")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    done = encode(folder, "a")
    assert done.returncode == 1 and "config.json: not a file" in done.stderr


def test_a_gguf_file_is_a_model(tmp_path):
    file = FIXTURES / "bert-gguf-q8/model.gguf"
    done = encode(file, "The shunt routers\nA!\n")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        v = json.loads(line)["embedding"]
        assert len(v) == 32 and sum(x * x for x in v) == pytest.approx(1, abs=1e-5)
    other = tmp_path / "other.gguf"
    said = b"architecture\x08\0\0\0\x04\0\0\0\0\0\0\0"  # a string of 4
    other.write_bytes(file.read_bytes().replace(said + b"bert", said + b"qwen"))
    done = encode(other, "")
    assert done.returncode == 1
    assert f"{other}: key general.architecture: `qwen` is not supported; supported in GGUF files: bert" in done.stderr
    other.write_bytes(b"no model")
    assert f"{other}: not a GGUF file" in encode(other, "").stderr
    (tmp_path / "model.bin").write_bytes(file.read_bytes())
    assert "model.bin: neither a folder nor a .gguf file" in encode(tmp_path / "model.bin", "").stderr
