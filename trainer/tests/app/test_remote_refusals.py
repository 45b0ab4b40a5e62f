"""A server that refuses a message before it has read it, and clients that speak too slowly: encrypted and not."""

import socket
import ssl
import time
from pathlib import Path

import pytest
from certificates import certificate_for_localhost
from listening import KEY, connected, head, listening
from worker_process import LIMIT_S

from clsdm.app import access, handler, remote
from clsdm.app import server as front
from clsdm.errors import InputError
from clsdm.failures import ReportedError, ServerError

BODY_BYTES = 48 * 2**20
"""More than the buffers of both ends hold."""


@pytest.fixture(params=["http", "https"])
def contexts(request, tmp_path) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Of a server and of its client."""
    if request.param == "http":
        return None, None
    key, cert = certificate_for_localhost(tmp_path)
    return access.server_context(str(cert), str(key)), access.client_context(str(cert))


def asked(port: int, context: ssl.SSLContext | None, folder: Path, key: str = KEY, files: int = 1) -> None:
    """Ask with a large body, as the module does."""
    scheme = "http" if context is None else "https"
    client = remote.Server(access.server_address(f"{scheme}://localhost:{port}"), key, context)
    client._known = True
    sending = folder / "sent"
    sending.mkdir()
    for number in range(files):
        (sending / f"{number}.npy").write_bytes(bytes(BODY_BYTES if number == 0 else 1))
    client.ask("reconstruct", folder, lambda *_: None, {})


def test_the_reason_of_a_refusal_arrives_although_most_was_not_sent_yet(contexts, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "WRONG_KEY_S", 0.0)
    with listening(tmp_path, contexts[0]) as port:
        with pytest.raises(ServerError, match="does not take this key"):
            asked(port, contexts[1], _folder(tmp_path, "key"), key=KEY + "x")
        with pytest.raises(ReportedError, match="expected at most 64 sizes"):
            asked(port, contexts[1], _folder(tmp_path, "files"), files=65)
        monkeypatch.setattr(handler, "SENT_BYTES", 1000)
        with pytest.raises(ReportedError, match="expected a message of at most 1,000 bytes"):
            asked(port, contexts[1], _folder(tmp_path, "size"))


def test_a_server_takes_a_bounded_part_of_what_it_refused_and_its_client_says_so_in_a_line(
    contexts, tmp_path, monkeypatch
):
    monkeypatch.setattr(handler, "WRONG_KEY_S", 0.0)
    monkeypatch.setattr(handler, "READ_OFF_BYTES", 2**20)
    with listening(tmp_path, contexts[0]) as port, pytest.raises(ServerError) as refused:
        asked(port, contexts[1], _folder(tmp_path, "key"), key=KEY + "x")
    said = str(refused.value)
    assert "does not take this key" in said or "it ended the connection without an answer" in said
    assert "\n" not in said
    assert "_ssl.c" not in said


def test_what_is_too_large_for_any_server_is_not_sent(contexts, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "SENT_BYTES", 1000)
    with pytest.raises(InputError, match="bytes of arrays; expected at most 1,000"):
        asked(9, contexts[1], tmp_path)


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_who_says_no_more_after_a_refusal_is_not_waited_for(contexts, tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "READ_OFF_SILENT_S", 0.2)
    with listening(tmp_path, contexts[0]) as port, connected(port, contexts[1]) as raw:
        raw.sendall(head(10**15))
        answer = b"".join(iter(lambda: raw.recv(1000), b""))
    assert b"400" in answer
    assert b"expected a message" in answer


@pytest.mark.parametrize("part", ["headers", "message"])
def test_who_speaks_a_byte_at_a_time_is_hung_up_on_after_a_total_time(part, contexts, tmp_path, monkeypatch):
    limit_s = 1.0
    monkeypatch.setattr(front, "GREETING_S", limit_s if part == "headers" else LIMIT_S)
    monkeypatch.setattr(handler, "TRANSFER_S", limit_s)
    monkeypatch.setattr(handler, "READ_OFF_S", 0.0)
    begun = b"POST / HTTP/1.0\r\nX: " if part == "headers" else head(10_000)
    with listening(tmp_path, contexts[0]) as port, connected(port, contexts[1]) as raw:
        raw.sendall(begun)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            _trickle(raw)


def _trickle(raw: socket.socket) -> None:
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_S:
        raw.sendall(b"a")
        time.sleep(0.1)
