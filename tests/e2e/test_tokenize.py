# SPDX-License-Identifier: Apache-2.0
"""`shunt tokenize`: lines in, ids out, as they come; faults told by their line."""
import json
import os
import resource
import select
import subprocess

import pytest
from harness.paths import BUILD, DATA, ROOT

TINY = {
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]},
    "model": {"type": "WordLevel", "unk_token": "?",
              "vocab": {"?": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}},
}


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(TINY))
    return tmp_path


def tokenize(folder, given, *more):
    return subprocess.run([BUILD / "shunt", "tokenize", "--tokenizer", folder, *more], input=given,
                          capture_output=True, timeout=60, check=False)


def ids(done):
    return [json.loads(line)["ids"] for line in done.stdout.splitlines()]


def test_each_line_of_text_gets_a_line_of_ids(tiny):
    done = tokenize(tiny, b"a b\n\nb \xff\nlast a")
    assert done.returncode == 0, done.stderr
    assert ids(done) == [[1, 3, 4, 2], [1, 2], [1, 4, 0, 2], [1, 0, 3, 2]]


def test_jsonl_takes_pairs_and_limits(tiny):
    rows = [{"text": "a\nb"}, {"text": "a", "pair": "b"}, {"text": "a b a b", "max_length": 4},
            {"text": "a", "pair": None, "max_length": None}]
    done = tokenize(tiny, "".join(json.dumps(r) + "\n" for r in rows).encode(), "--jsonl")
    assert done.returncode == 0, done.stderr
    assert ids(done) == [[1, 3, 4, 2], [1, 3, 2, 4, 2], [1, 3, 4, 2], [1, 3, 2]]


@pytest.mark.plain_only  # a sanitizer wants address space without end
def test_a_line_that_memory_is_too_small_for_is_not_the_end(tiny):
    most = 512 << 20
    done = subprocess.run(
        [BUILD / "shunt", "tokenize", "--tokenizer", tiny], input=b"a\n" + b"a" * (300 << 20),
        capture_output=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)))
    assert done.returncode == 1
    assert b"standard input: Cannot allocate memory" in done.stderr
    assert ids(done) == [[1, 3, 2]]


def test_the_vocabulary_of_a_gguf_file_is_taken(tmp_path):
    file = ROOT / "tests/fixtures/encoder/bert-gguf-q8/model.gguf"
    done = tokenize(file, "The shunt routers, [MASK]!".encode(), "--jsonl")
    assert done.returncode == 1 and b"line 1" in done.stderr
    done = tokenize(file, "The shunt routers, [MASK]!".encode())
    assert done.returncode == 0, done.stderr
    assert ids(done) == [[2, 5, 6, 7, 8, 1, 4, 17, 3]]
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:600])
    assert b"cut.gguf: key tokenizer.ggml.tokens: byte 5" in tokenize(cut, b"a").stderr


def test_a_real_gguf_vocabulary_gives_the_ids_of_llama_cpp():
    file = DATA / "formats/gguf/ggml-vocab-bert-bge.gguf"
    if not file.exists():
        pytest.skip("no ../shared/data/formats/gguf beside the project")
    with open(f"{file}.inp", encoding="utf-8", newline="") as f:
        texts = f.read().split("\n__ggml_vocab_test__\n")
    with open(f"{file}.out", encoding="utf-8") as f:
        wanted = [[int(i) for i in line.split()] for line in f.read().split("\n")]
    done = tokenize(file, "".join(json.dumps({"text": text}) + "\n" for text in texts).encode(), "--jsonl")
    assert done.returncode == 0 and len(texts) > 40, done.stderr
    assert [row[1:-1] for row in ids(done)] == wanted, "between [CLS] and [SEP]"


@pytest.mark.parametrize("line,what", [
    ('{"text": 3}', "text: must be a string"),
    ('{"text": "a", "pair": 3}', "pair: must be a string"),
    ('{"text": "a", "max_length": 0}', "max_length: must be a number above 0"),
    ('{"text": "a", "max_length": 1}', "max_length 1 has no room for 2 special tokens"),
    ('{"text": "a"', "line 1 column"),
])
def test_a_fault_ends_the_run_and_names_the_line(tiny, line, what):
    done = tokenize(tiny, ('{"text": "a"}\n' + line + "\n").encode(), "--jsonl")
    assert done.returncode == 1
    assert ids(done) == [[1, 3, 2]], "what was good is not lost"
    assert done.stderr.decode().startswith("shunt tokenize: line 2: ")
    assert what in done.stderr.decode()


def test_a_wrong_folder_or_file_is_named(tmp_path):
    done = tokenize(tmp_path, b"")
    assert done.returncode == 1
    assert f"{tmp_path}/tokenizer.json: No such file" in done.stderr.decode()
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Odd"}}')
    done = tokenize(tmp_path, b"")
    assert done.returncode == 1
    assert "model `Odd` is not supported; supported are" in done.stderr.decode()


def test_on_a_terminal_an_answer_comes_before_the_next_line(tiny):
    ours, theirs = os.openpty()
    with subprocess.Popen([BUILD / "shunt", "tokenize", "--tokenizer", tiny],
                          stdin=subprocess.PIPE, stdout=theirs, bufsize=0) as run:
        os.close(theirs)
        for text, want in ((b"a\n", "[1,3,2]"), (b"b\n", "[1,4,2]")):
            run.stdin.write(text)
            assert select.select([ours], [], [], 30)[0], "no answer while the input is open"
            assert want in os.read(ours, 4096).decode()
        run.stdin.close()
        assert run.wait(timeout=30) == 0
    os.close(ours)


def test_golden_rows_through_the_command():
    folder = DATA / "tokenizers" / "roberta-base"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    rows = [json.loads(line) for line in (folder / "golden.dev.jsonl").open()]
    given = "".join(json.dumps({k: r[k] for k in ("text", "pair", "max_length") if k in r}) + "\n"
                    for r in rows)
    done = tokenize(folder, given.encode(), "--jsonl")
    assert done.returncode == 0, done.stderr
    assert ids(done) == [r["ids"] for r in rows]
