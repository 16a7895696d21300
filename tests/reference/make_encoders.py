#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_encoders.py - random checkpoints of every supported architecture, and what `transformers` makes of them

    python3 -m venv DIR && DIR/bin/pip install torch transformers gguf
    DIR/bin/python tests/reference/make_encoders.py                       the committed fixtures, anew
    DIR/bin/python tests/reference/make_encoders.py --full --out FOLDER   real sizes (2 GB), not committed
    SHUNT_REFERENCE_DIR=FOLDER build/tests/unit/test_encoder              checks those too

A fixture is a model folder, or one with model.gguf, and golden.jsonl: token ids (and segments), and the logits, mean and first-token
hidden states that the reference computes in float32. The unit test test_encoder compares shunt with them, so
the plain suite checks every architecture without torch. Weights are wide (not the usual 0.02) so that every
part matters: counting positions from 0 in a RoBERTa moves its outputs by far more than the tolerance, and
test_encoder asserts that it does.
"""
import argparse
import json
import shutil
from pathlib import Path

import gguf
import torch
import transformers
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
TINY = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 37, "max_position_embeddings": 34}
TINY_DISTIL = {"vocab_size": 40, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 37,
               "max_position_embeddings": 34}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
LABELS = {0: "strong", 1: "tie", 2: "weak"}

# name -> class, sizes and settings, then how it is stored and which extra files stand beside it
FIXTURES = {
    "bert-classifier": dict(cls="BertForSequenceClassification", config={**TINY, "id2label": LABELS}),
    "bert-mean": dict(cls="BertModel", config={**TINY, "hidden_act": "gelu_new"}, shards=2,
                      pooling=MEAN, normalize=True, length=16),
    "bert-cls": dict(cls="BertModel", config={**TINY, "type_vocab_size": 1}, store=torch.bfloat16, pooling=CLS,
                     normalize=True),
    "bert-relu-old-names": dict(cls="BertForMaskedLM", config={**TINY, "hidden_act": "relu"}, old_names=True),
    "roberta": dict(cls="RobertaModel", config={**TINY, "layer_norm_eps": 1e-5, "type_vocab_size": 1}),
    "roberta-classifier": dict(cls="RobertaForSequenceClassification", store=torch.float16,
                               config={**TINY, "layer_norm_eps": 1e-5, "type_vocab_size": 1}),
    "xlm-roberta-classifier": dict(cls="XLMRobertaForSequenceClassification",
                                   config={**TINY, "layer_norm_eps": 1e-5, "type_vocab_size": 1,
                                           "id2label": LABELS}),
    "camembert-classifier": dict(cls="CamembertForSequenceClassification", store=torch.float16,
                                 config={**TINY, "type_vocab_size": 1, "problem_type": "regression",
                                         "num_labels": 1}),
    "distilbert": dict(cls="DistilBertModel", config=TINY_DISTIL, pooling=MEAN, store=torch.bfloat16),
    "distilbert-classifier": dict(cls="DistilBertForSequenceClassification", store=torch.float16,
                                  config={**TINY_DISTIL, "id2label": LABELS,
                                          "problem_type": "multi_label_classification"}),
    "mpnet": dict(cls="MPNetModel", pooling=MEAN, normalize=True, store=torch.float16,
                  config={**TINY, "max_position_embeddings": 200}),
    "mpnet-classifier": dict(cls="MPNetForSequenceClassification", store=torch.float16,
                             config={**TINY, "num_labels": 4}),
    # one GGUF file each; Q8_0 takes rows of 32
    "bert-gguf-f16": dict(cls="BertModel", config={**TINY, "type_vocab_size": 1}, gguf="F16", pooling=CLS,
                          special_ids=True),
    "bert-gguf-q8": dict(cls="BertModel", gguf="Q8_0", pooling=MEAN,
                         config={**TINY, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64,
                                 "num_hidden_layers": 1}),
}
FULL = {
    "bert-base": dict(cls="BertModel", config={**BASE, "vocab_size": 30522}),
    "bert-base-classifier": dict(cls="BertForSequenceClassification", config={**BASE, "vocab_size": 30522}),
    "xlm-roberta-base-3-labels": dict(cls="XLMRobertaForSequenceClassification",
                                      config={**BASE, "vocab_size": 250002, "max_position_embeddings": 514,
                                              "type_vocab_size": 1, "layer_norm_eps": 1e-5,
                                              "id2label": LABELS}),
    "roberta-base": dict(cls="RobertaModel", config={**BASE, "vocab_size": 50265, "max_position_embeddings": 514,
                                                     "type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "distilbert-base": dict(cls="DistilBertForSequenceClassification", config={}),
    "minilm-l6": dict(cls="BertModel", pooling=MEAN, normalize=True, length=256,
                      config={"vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
                              "num_attention_heads": 12, "intermediate_size": 1536}),
    "mpnet-base": dict(cls="MPNetModel", config={"max_position_embeddings": 514}),
}


def randomize(model, full):
    """Weights that let every part show in the output; real sizes keep the usual spread times two."""
    for name, p in sorted(model.named_parameters()):
        if "LayerNorm" in name or "layer_norm" in name:
            p.data.normal_(0, 0.2).add_(1 if name.endswith("weight") else 0)
        elif p.dim() == 1:
            p.data.normal_(0, 0.1)
        elif "embeddings" in name or "relative_attention_bias" in name:
            p.data.normal_(0, 0.6)
        else:
            p.data.normal_(0, 0.04 if full else 0.25)


def renamed(name):
    """LayerNorm's parameters as TensorFlow called them."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def save_weights(folder, tensors, shards):
    meta = {"format": "pt"}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", meta)
        return
    names, where = sorted(tensors), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        save_file({n: tensors[n] for n in part}, folder / file, meta)
        where.update({n: file for n in part})
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def save_sentence_files(folder, spec):
    if "pooling" not in spec:
        return
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if spec.get("normalize"):
        kinds.append(("2_Normalize", "Normalize"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (path, kind) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(spec["pooling"], indent=1) + "\n")
    if "length" in spec:
        text = json.dumps({"max_seq_length": spec["length"], "do_lower_case": False})
        (folder / "sentence_bert_config.json").write_text(text + "\n")


# A vocabulary of 40, as GGUF writes WordPiece: U+2581 begins a word.
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *"\u2581the \u2581shunt \u2581router s ing \u2581a \u2581b \u2581c a b c \u2581. \u2581!".split()]
GGUF_NAMES = [("embeddings.word_embeddings", "token_embd"), ("embeddings.position_embeddings", "position_embd"),
              ("embeddings.token_type_embeddings", "token_types"), ("embeddings.LayerNorm", "token_embd_norm"),
              ("encoder.layer.", "blk."), ("attention.self.query", "attn_q"), ("attention.self.key", "attn_k"),
              ("attention.self.value", "attn_v"), ("attention.output.dense", "attn_output"),
              ("attention.output.LayerNorm", "attn_output_norm"), ("intermediate.dense", "ffn_up"),
              ("output.dense", "ffn_down"), ("output.LayerNorm", "layer_output_norm")]


def gguf_stored(name, t, kind):
    """A tensor in the format's numbers: matrices but not the small tables are in the file's type."""
    plain = t.dim() < 2 or "position_emb" in name or "token_type" in name
    kind = gguf.GGMLQuantizationType[kind if not plain else "F32"]
    return kind, gguf.quants.quantize(t.float().numpy(), kind)


def gguf_rounded(name, t, kind):
    kind, data = gguf_stored(name, t, kind)
    return torch.from_numpy(gguf.quants.dequantize(data, kind).copy()).reshape(t.shape)


def save_gguf(folder, config, tensors, spec):
    """What llama.cpp's converter writes of a BERT."""
    w = gguf.GGUFWriter(folder / "model.gguf", "bert")
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_layer_norm_eps(config.layer_norm_eps)
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.CLS if spec["pooling"] is CLS else gguf.PoolingType.MEAN)
    w.add_tokenizer_model("bert")
    w.add_token_type_count(config.type_vocab_size)
    w.add_token_list(WORDS + [f"[PAD{i}]" for i in range(len(WORDS), config.vocab_size)])
    w.add_token_types([3] * len(SPECIAL) + [1] * (len(WORDS) - len(SPECIAL)) + [5] * (config.vocab_size - len(WORDS)))
    if spec.get("special_ids"):  # else by their texts; llama.cpp would take them for 100 to 103
        for add, i in zip((w.add_pad_token_id, w.add_unk_token_id, w.add_bos_token_id, w.add_sep_token_id,
                           w.add_mask_token_id), range(len(SPECIAL))):
            add(i)
    for name, t in tensors.items():
        kind, data = gguf_stored(name, t, spec["gguf"])
        for ours, theirs in GGUF_NAMES:
            name = name.replace(ours, theirs)
        w.add_tensor(name, data.squeeze(), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def texts(config, spec, longest):
    """Ids and segments: several lengths up to the longest, among them the padding id in the middle."""
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    types = getattr(config, "type_vocab_size", 1)
    for length in sorted({1, 2, 17, 150, longest}):
        if length <= longest:
            ids = torch.randint(3, config.vocab_size, (length,)).tolist()
            yield ids, [int(i > length // 2) for i in range(length)] if types > 1 else None
    ids = torch.randint(3, config.vocab_size, (9,)).tolist()
    ids[4] = pad
    yield ids, None


@torch.no_grad()
def golden_row(model, ids, types):
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    row = {"ids": ids}
    if types is not None:
        inputs["token_type_ids"] = torch.tensor([types])
        row["type_ids"] = types
    out = model(**inputs, output_hidden_states=True)
    hidden = out.hidden_states[-1][0]
    if "SequenceClassification" in type(model).__name__:
        row["logits"] = [round(v, 6) for v in out.logits[0].tolist()]
    row["mean"] = [round(v, 6) for v in hidden.mean(0).tolist()]
    row["cls"] = [round(v, 6) for v in hidden[0].tolist()]
    return row


def save_config(folder, config, spec):
    text = json.dumps(config.to_diff_dict(), indent=1, default=str)
    # to_diff_dict leaves defaults out; sizes are always told
    full_config = {**json.loads(config.to_json_string(use_diff=False)), **json.loads(text)}
    wanted = ("architectures", "model_type", "vocab_size", "hidden_size", "dim", "num_hidden_layers", "n_layers",
              "num_attention_heads", "n_heads", "intermediate_size", "hidden_dim", "max_position_embeddings",
              "type_vocab_size", "hidden_act", "activation", "layer_norm_eps", "pad_token_id", "problem_type",
              "id2label", "relative_attention_num_buckets", "position_embedding_type")
    small = {k: full_config[k] for k in wanted if k in full_config and full_config[k] is not None}
    (folder / "config.json").write_text(json.dumps(small, indent=1) + "\n")
    save_sentence_files(folder, spec)


def make(folder, spec, full):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cls = getattr(transformers, spec["cls"])
    config = cls.config_class(attn_implementation="eager", **spec["config"])
    config.architectures = [spec["cls"]]
    model = cls(config).eval().float()
    randomize(model, full)
    store = spec.get("store", torch.float32)
    for name, p in model.named_parameters():
        p.data = gguf_rounded(name, p.data, spec["gguf"]) if "gguf" in spec else p.data.to(store).float()
    # Not the pooler of a bare encoder, not the head of a masked language model: shunt reads neither.
    kept = {n: t.to(store).contiguous() for n, t in model.state_dict().items()
            if not n.startswith("cls.") and not (n.startswith("pooler.")) and t.dtype.is_floating_point}
    if spec.get("old_names"):
        kept = {renamed(n): t for n, t in kept.items()}
    if "gguf" in spec:
        save_gguf(folder, config, kept, spec)
    else:
        save_weights(folder, kept, spec.get("shards", 1))
        save_config(folder, config, spec)
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    longest = min(config.max_position_embeddings - offset, spec.get("length", 10**9))
    with open(folder / "golden.jsonl", "w") as f:
        for ids, types in texts(config, spec, longest):
            f.write(json.dumps(golden_row(model, ids, types)) + "\n")
    print(folder.name, sum(f.stat().st_size for f in folder.rglob("*")) // 1024, "KB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="real sizes instead of the small fixtures")
    parser.add_argument("--only", help="the fixture of this name only")
    parser.add_argument("--out", type=Path, default=ROOT / "tests/fixtures/encoder")
    args = parser.parse_args()
    if args.full and args.out == ROOT / "tests/fixtures/encoder":
        parser.error("--full needs --out: these are no fixtures to commit")
    for i, (name, spec) in enumerate((FULL if args.full else FIXTURES).items()):
        torch.manual_seed(1000 + i)
        if args.only in (None, name):
            make(args.out / name, spec, args.full)


if __name__ == "__main__":
    main()
