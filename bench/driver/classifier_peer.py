# SPDX-License-Identifier: Apache-2.0
"""One peer of the classifier benchmark: an engine with one model, told what to time on stdin.

    classifier_peer.py onnx-f32|onnx-i8|torch-f32|torch-i8 FOLDER THREADS

Answers the first line "ready {json}" after its first result (16 tokens); then for each line
"TOKENS RUNS" a JSON list of milliseconds. Runs in the benchmark's virtual environment.
"""
import json
import os
import sys
import time

FIRST_TOKENS = 16


def token_ids(count):
    """The same ids as `shunt bench classifier`."""
    out, state = [], 12345
    for _ in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(1000 + state % 20000)
    return out


def onnx_engine(folder, kind, threads):
    import numpy as np
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.path.join(folder, f"{kind}.onnx"), options,
                                           providers=["CPUExecutionProvider"])

    def run(count):
        ids = np.array([token_ids(count)], dtype=np.int64)
        feed = {"ids": ids, "places": np.arange(count, dtype=np.int64)[None, :]}

        return lambda: session.run(None, feed)[0][0]
    return run, f"onnxruntime {onnxruntime.__version__}"


def torch_engine(folder, kind, threads):
    import torch
    import transformers
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    config = transformers.BertConfig.from_json_file(os.path.join(folder, "config.json"))
    model = transformers.BertForSequenceClassification.from_pretrained(folder, config=config).eval()
    if kind == "i8":
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)

    def run(count):
        ids = torch.tensor([token_ids(count)])

        return lambda: model(input_ids=ids).logits[0].tolist()
    return run, f"torch {torch.__version__}, transformers {transformers.__version__}"


def main():
    engine, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    library, _, kind = engine.partition("-")
    make = {"onnx": onnx_engine, "torch": torch_engine}[library]
    runner, version = make(folder, kind, threads)
    first = [float(v) for v in runner(FIRST_TOKENS)()]
    print("ready", json.dumps({"version": version, "logits": first}), flush=True)
    for line in sys.stdin:
        count, runs = map(int, line.split())
        run, out = runner(count), []
        run()
        for _ in range(runs):
            start = time.perf_counter()
            run()
            out.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
