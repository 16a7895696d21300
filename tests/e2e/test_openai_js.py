# SPDX-License-Identifier: Apache-2.0
"""The official JavaScript client of OpenAI, unmodified (js/client.mjs has the cases)."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.daemon import Daemon, model, openai, sim
from harness.paths import NODE, SLOW
from harness.upstream import Upstream, chunk, fail
from test_openai_python import tool_script

SCRIPT = Path(__file__).parent / "js/client.mjs"
CASES = re.findall(r"^  async (\w+)\(\)", SCRIPT.read_text(), re.M)


def endless(x):
    x.begin_stream()
    while not x.gone():
        x.event(chunk({"content": "and on "}))
        x.stopping.wait(0.01)


@pytest.fixture(scope="module")
def served():
    ups = {"tools": Upstream(chat=tool_script), "endless": Upstream(chat=endless),
           "busy": Upstream(chat=fail(429, "rate_limit_error")),
           "hangs": Upstream(chat=lambda x: x.hang())}
    d = Daemon({"backends": [sim("s", models=["small"]),
                             *[openai(n, u.url) for n, u in ups.items()]],
                "models": [model("small", "s"), *[model(n, n, upstream="m") for n in ups]],
                "routes": [{"name": "auto", "models": ["small"]}]})
    d.upstreams = ups
    yield d
    d.stop()
    for u in ups.values():
        u.stop()


@pytest.mark.parametrize("case", CASES)
def test_js_client(served, case):
    if shutil.which("node") is None:
        pytest.skip("no node on this machine: the JavaScript client is not tested")
    assert (NODE / "node_modules/openai").is_dir(), "build/node is not set up (./bootstrap test)"
    done = subprocess.run(["node", SCRIPT, served.url, NODE, case], capture_output=True, text=True,
                          timeout=60 * SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    if case == "stream_abort":
        assert served.upstreams["endless"].chat_exchanges()[-1].wait_gone(10)
