# SPDX-License-Identifier: Apache-2.0
"""conftest.py - fixtures: a real daemon, scripted upstreams; both end with the test."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.daemon import Daemon, sim  # noqa: E402
from harness.paths import BUILD, DATA  # noqa: E402
from harness.upstream import Upstream  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "plain_only: not with the sanitized daemon (timing, memory)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


@pytest.fixture
def daemon(request):
    """start(config dict, ...) -> Daemon, ready; every one is stopped and checked at the end."""
    if not (BUILD / "shuntd").exists():
        pytest.fail(f"{BUILD}/shuntd is not built (./bootstrap build)")
    started = []

    def start(config=None, **options):
        started.append(Daemon(config if config is not None else {"backends": [sim()]}, **options))
        return started[-1]

    yield start
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    problems = []
    for d in reversed(started):
        if failed and not d.stopped:
            # The test has its own story to tell; add the log to it and clean up.
            print(f"---- log of shuntd {d.pid}\n{d.log()[-8000:]}", file=sys.stderr)
            d.kill()
            continue
        try:
            d.stop()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture
def upstream():
    """start(models, chat script) -> Upstream."""
    started = []

    def start(**options):
        started.append(Upstream(**options))
        return started[-1]

    yield start
    for u in started:
        u.stop()


@pytest.fixture(scope="session")
def wire():
    """The folder of recorded provider traffic."""
    if not (DATA / "wire/index.jsonl").exists():
        pytest.skip("no ../shared/data/wire beside the project: recordings are not tested")
    return DATA / "wire"
