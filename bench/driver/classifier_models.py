# SPDX-License-Identifier: Apache-2.0
"""Model folders with random weights, and the same weights as ONNX graphs, fp32 and dynamic int8.

Runs in the benchmark's own virtual environment (numpy, safetensors, onnx, onnxruntime).
"""
import json
import os

SHAPES = {  # layers, hidden, heads, ffn, vocabulary
    "bert-base": (12, 768, 12, 3072, 30522),
    "minilm-l6": (6, 384, 12, 1536, 30522),
    "bert-tiny": (2, 128, 2, 512, 30522),
}
LABELS, POSITIONS, EPS = 3, 512, 1e-12


def _config(name):
    layers, hidden, heads, ffn, vocab = SHAPES[name]
    return {"architectures": ["BertForSequenceClassification"], "model_type": "bert",
            "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
            "intermediate_size": ffn, "vocab_size": vocab, "hidden_act": "gelu",
            "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": EPS,
            "pad_token_id": 0, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "id2label": {str(i): f"LABEL_{i}" for i in range(LABELS)},
            "label2id": {f"LABEL_{i}": i for i in range(LABELS)}}


def _tensors(name):
    import numpy as np
    layers, hidden, _, ffn, vocab = SHAPES[name]
    rng = np.random.default_rng(1)

    def normal(*shape):
        return (rng.standard_normal(shape, dtype=np.float32) * 0.04).astype(np.float32)

    out = {}

    def norm(prefix):
        out[f"{prefix}.weight"] = 1 + normal(hidden)
        out[f"{prefix}.bias"] = normal(hidden)

    def linear(prefix, rows, columns):
        out[f"{prefix}.weight"] = normal(rows, columns)
        out[f"{prefix}.bias"] = normal(rows)

    e = "bert.embeddings"
    out[f"{e}.word_embeddings.weight"] = normal(vocab, hidden)
    out[f"{e}.position_embeddings.weight"] = normal(POSITIONS, hidden)
    out[f"{e}.token_type_embeddings.weight"] = normal(2, hidden)
    norm(f"{e}.LayerNorm")
    for i in range(layers):
        p = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{p}.attention.self.{part}", hidden, hidden)
        linear(f"{p}.attention.output.dense", hidden, hidden)
        norm(f"{p}.attention.output.LayerNorm")
        linear(f"{p}.intermediate.dense", ffn, hidden)
        linear(f"{p}.output.dense", hidden, ffn)
        norm(f"{p}.output.LayerNorm")
    linear("bert.pooler.dense", hidden, hidden)
    linear("classifier", LABELS, hidden)
    return out


def _graph(name, t):
    """BERT as ONNX Runtime runs it best: its fused operators, as its optimizer would leave them."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    layers, hidden, heads, _, _ = SHAPES[name]
    nodes, weights, extra = [], {}, {}

    def w(key, value=None):
        weights[key] = np.asarray(t[key] if value is None else value, order="C")
        return key

    def node(op, inputs, domain="", **attrs):
        output = f"n{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attrs))
        return output

    def fused(op, inputs, **attrs):
        return node(op, inputs, "com.microsoft", **attrs)

    def matmul(x, prefix):
        return node("MatMul", [x, w(f"{prefix}.weight_t", t[f"{prefix}.weight"].T)])

    def skip_norm(x, skip, prefix, bias):
        return fused("SkipLayerNormalization",
                     [x, skip, w(f"{prefix}.weight"), w(f"{prefix}.bias"), w(bias)], epsilon=EPS)

    e = "bert.embeddings"
    words = node("Gather", [w(f"{e}.word_embeddings.weight"), "ids"])
    extra["positions"] = t[f"{e}.position_embeddings.weight"] + \
        t[f"{e}.token_type_embeddings.weight"][0]
    places = node("Gather", [w("positions", extra["positions"]), "places"])
    x = node("LayerNormalization", [node("Add", [words, places]), w(f"{e}.LayerNorm.weight"),
                                    w(f"{e}.LayerNorm.bias")], epsilon=EPS)
    for i in range(layers):
        p = f"bert.encoder.layer.{i}"
        parts = [f"{p}.attention.self.{part}" for part in ("query", "key", "value")]
        a = fused("Attention", [
            x, w(f"{p}.qkv", np.concatenate([t[f"{q}.weight"].T for q in parts], axis=1)),
            w(f"{p}.qkv_bias", np.concatenate([t[f"{q}.bias"] for q in parts]))], num_heads=heads)
        o = f"{p}.attention.output"
        x = skip_norm(matmul(a, f"{o}.dense"), x, f"{o}.LayerNorm", f"{o}.dense.bias")
        up = f"{p}.intermediate.dense"
        g = fused("BiasGelu", [matmul(x, up), w(f"{up}.bias")])
        x = skip_norm(matmul(g, f"{p}.output.dense"), x, f"{p}.output.LayerNorm",
                      f"{p}.output.dense.bias")
    first = node("Gather", [x, w("zero", np.array(0, dtype=np.int64))], axis=1)
    pooled = node("Tanh", [node("Add", [matmul(first, "bert.pooler.dense"),
                                        w("bert.pooler.dense.bias")])])
    logits = node("Add", [matmul(pooled, "classifier"), w("classifier.bias")])
    nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    return helper.make_model(
        helper.make_graph(
            nodes, name,
            [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "tokens"])
             for n in ("ids", "places")],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, LABELS])],
            [numpy_helper.from_array(v, k) for k, v in weights.items()]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8)


def prepare(folder, name):
    """Write what is missing of folder/name: config.json, model.safetensors, *.onnx."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from safetensors.numpy import save_file
    at = os.path.join(folder, name)
    done = os.path.join(at, "complete")
    if os.path.exists(done):
        return at
    os.makedirs(at, exist_ok=True)
    tensors = _tensors(name)
    with open(os.path.join(at, "config.json"), "w") as f:
        json.dump(_config(name), f, indent=1)
    save_file(tensors, os.path.join(at, "model.safetensors"), metadata={"format": "pt"})
    onnx.save(_graph(name, tensors), os.path.join(at, "f32.onnx"))
    quantize_dynamic(os.path.join(at, "f32.onnx"), os.path.join(at, "i8.onnx"),
                     weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    open(done, "w").close()
    return at


if __name__ == "__main__":
    import sys
    for model in sys.argv[2].split(","):
        prepare(sys.argv[1], model)
