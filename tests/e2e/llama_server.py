# SPDX-License-Identifier: Apache-2.0
"""llama_server.py MODEL PORT [embeddings] - llama.cpp's own HTTP server on the loopback, until it is killed."""
import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.n_ctx = 128
params.cpuparams.n_threads = 1
params.model_alias = ["stories"]
params.embedding = "embeddings" in sys.argv[3:]
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
signal.pause()
