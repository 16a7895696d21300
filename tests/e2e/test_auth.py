# SPDX-License-Identifier: Apache-2.0
"""Client keys and what needs none."""
import pytest
from harness.daemon import Daemon, sim
from harness.http import Raw, chat_bytes, error_of, simple_chat
from harness.wait import until

KEY = "lab-key-0123456789abcdef"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# people of the lab\n{KEY}\nsecond-key-0123456789 # with a note\n\n")
    keys.chmod(0o600)
    d = Daemon({"backends": [sim("s", models=["small"])], "auth": {"keys_file": str(keys)}})
    yield d
    d.stop()


def chat(d, **headers):
    return d.chat("small", options={"headers": headers})


@pytest.mark.parametrize("headers", [
    {}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {KEY[:-1]}"},
    {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Basic {KEY}"},
    {"authorization": "Bearer"}, {"authorization": KEY}, {"x-api-key": "wrong"},
    {"authorization": "Bearer # people of the lab"},
])
def test_without_a_right_key_nothing_is_served(served, headers):
    r = chat(served, **headers)
    assert r.status_code == 401
    error = error_of(r.content)
    assert error["type"] == "authentication_error"
    assert KEY not in r.text


def test_a_right_key_is_served(served):
    assert chat(served, authorization=f"Bearer {KEY}").status_code == 200
    assert chat(served, authorization=f"bearer {KEY}").status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/v1/route", "/v1/embeddings"])
def test_other_endpoints_want_the_key_too(served, path):
    r = served.post(path, {"model": "small"}) if path != "/v1/models" else served.get(path)
    assert r.status_code == 401


def test_health_needs_no_key(served):
    assert served.get("/health").status_code == 200
    assert served.get("/ready").status_code == 200


def test_two_authorization_headers_are_refused(served):
    with Raw(served) as raw:
        raw.send(chat_bytes(simple_chat("small"), headers=[
            "Authorization: Bearer wrong", f"Authorization: Bearer {KEY}"]))
        assert raw.response()[0] in (400, 401)


def test_the_unix_socket_knows_its_peer(served):
    with Raw(path=served.socket_path) as raw:
        raw.send(chat_bytes(simple_chat("small")))
        assert raw.response()[0] == 200


@pytest.mark.parametrize("mode,why", [(None, "No such file"), (0o644, "open to")])
def test_a_keys_file_that_is_missing_or_open_to_all_is_told(daemon, tmp_path, mode, why):
    keys = tmp_path / "keys"
    if mode is not None:
        keys.write_text(KEY + "\n")
        keys.chmod(mode)
    d = daemon({"backends": [sim()], "auth": {"keys_file": str(keys)}}, wait_ready=False)
    d.allow("worker_failed")
    line = d.wait_log(r"error gateway-0 worker_failed .*")
    assert str(keys) in line.group(0) and why in line.group(0)
    # Put right, it serves without anybody restarting it.
    keys.write_text(KEY + "\n")
    keys.chmod(0o600)
    d.wait_ready()
    r = d.chat("auto", options={"headers": {"authorization": f"Bearer {KEY}"}})
    assert r.status_code == 200, r.text


def test_a_link_to_the_keys_may_lead_elsewhere(daemon, tmp_path):
    """As whoever manages secrets lays it: the name here, the file in a folder of its own, and another
    folder after a change."""
    for n in ("one", "two"):
        (tmp_path / n).mkdir()
        (tmp_path / n / "keys").write_text(f"key-of-folder-{n}-0123456789\n")
        (tmp_path / n / "keys").chmod(0o600)
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "keys"
    link.symlink_to(tmp_path / "one" / "keys")
    d = daemon({"backends": [sim("s", models=["small"])], "auth": {"keys_file": str(link)}})
    assert chat(d, authorization="Bearer key-of-folder-one-0123456789").status_code == 200
    d.allow("keys_not_reloaded keep=old")  # by the gateway that is on its way out
    link.unlink()
    link.symlink_to(tmp_path / "two" / "keys")
    d.reload()
    until("the new keys are in force", lambda: chat(
        d, authorization="Bearer key-of-folder-two-0123456789").status_code == 200)
    until("the old ones are not", lambda: chat(
        d, authorization="Bearer key-of-folder-one-0123456789").status_code == 401)
