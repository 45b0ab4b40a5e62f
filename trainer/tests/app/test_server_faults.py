"""A server whose computer fails, or whose client contradicts itself or is slow: who waits hears why, and nobody else waits."""

import errno
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from listening import KEY, all_of, connected, head, reset_at_its_end, serving
from worker_process import LIMIT_S

from clsdm.app import child, handler
from clsdm.limits import CONNECTIONS

HELLO = b'{"task": "hello"}\n'
SOON_S = 10.0
ARRAY_BYTES = 48 * 2**20
"""More than the buffers of both ends hold."""


class MadeUp:
    """A worker that answers with one large array; a greeting without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"stage": "start", "i": 0, "n": 1}
        if request["task"] == "hello":
            yield {"result": {"torch": "none"}}
            return
        array = self.folder / "volume.npy"
        with array.open("wb") as file:
            file.truncate(ARRAY_BYTES)
        yield {"result": {"volume": str(array), "again": str(array)}}

    def end(self) -> None:
        pass


def said(answer: bytes) -> dict[str, Any]:
    return json.loads(answer.splitlines()[-1])


def asked(port: int, message: bytes = HELLO) -> dict[str, Any]:
    with connected(port) as raw:
        raw.sendall(head(len(message)) + message)
        return said(all_of(raw))


@pytest.mark.parametrize(
    ("request_head", "body", "problem"),
    [
        (head(18, "Content-Length: 5\r\n"), HELLO, "Content-Length is 18, 5; expected"),
        (head(18, "Transfer-Encoding: chunked\r\n"), HELLO, "with a Transfer-Encoding"),
        (head(18).replace(b"Content-Length: 18\r\n", b""), HELLO, "Content-Length is none; expected"),
        (head(0), b"", "Content-Length is 0; expected"),
        (head(-18), HELLO, "Content-Length is -18; expected"),
        (head(9 * 10**12), b"", "Content-Length is 9000000000000; expected a message of at most 2,147,483,648 bytes"),
        (head(3), b"\n\n\n", "an empty message; expected a line of JSON"),
        (head(18, path="/elsewhere"), HELLO, "nothing is at '/elsewhere'; expected a message to /v1/work"),
    ],
)
def test_a_head_that_contradicts_itself_is_refused_with_what_was_found(request_head, body, problem, tmp_path):
    with serving(tmp_path) as server, connected(server.server_address[1]) as raw:
        raw.sendall(request_head + body)
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert problem in said(answer)["error"]["message"]


def test_who_is_one_too_many_hears_that_the_server_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "CLIENTS_WAITING", 0)
    with serving(tmp_path) as server:
        error = asked(server.server_address[1])["error"]
    assert error["kind"] == "server"
    assert "the server is busy" in error["message"]


def test_a_full_disk_of_the_server_is_said_to_be_the_servers(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with serving(tmp_path) as server:
        monkeypatch.setattr(Path, "mkdir", full)
        error = asked(server.server_address[1])["error"]
        monkeypatch.undo()
    assert error["kind"] == "disk"
    assert error["message"].startswith("on the server: ")


def test_a_message_that_takes_too_long_is_answered_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "TRANSFER_S", 0.3)
    with serving(tmp_path) as server, connected(server.server_address[1]) as raw:
        raw.sendall(head(100))
        for _ in range(5):
            raw.sendall(b"a")
            time.sleep(0.1)
        assert "took longer than 0.3 s" in said(all_of(raw))["error"]["message"]


def test_who_takes_an_answer_slowly_keeps_nobody_else_waiting(tmp_path):
    message = b'{"task": "compare", "reconstruction": "x", "truth": "x"}\n'
    with serving(tmp_path) as server:
        server.child = MadeUp(server.worked_in)  # type: ignore[assignment]
        port = server.server_address[1]
        with connected(port) as slow:
            slow.sendall(head(len(message)) + message)
            assert slow.recv(10)
            end = time.monotonic() + SOON_S
            while not (found := list(server.own.path.glob("request1/*/volume.npy"))) and time.monotonic() < end:
                time.sleep(0.01)
            with connected(port) as other:
                other.settimeout(SOON_S)
                other.sendall(head(len(HELLO)) + HELLO)
                assert "result" in said(all_of(other))
            answer = all_of(slow)
        assert answer.endswith(bytes(1000))
        assert len(answer) > ARRAY_BYTES
        assert not found[0].exists()


def test_an_answer_that_is_taken_too_slowly_is_cut(tmp_path, monkeypatch):
    class Hurried(MadeUp):
        def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
            for answer in super().ask(request):
                monkeypatch.setattr(handler, "TRANSFER_S", 0.2)
                yield answer

    message = b'{"task": "compare", "reconstruction": "x", "truth": "x"}\n'
    with serving(tmp_path) as server, connected(server.server_address[1]) as slow:
        server.child = Hurried(server.worked_in)  # type: ignore[assignment]
        slow.sendall(head(len(message)) + message)
        assert slow.recv(10)
        time.sleep(1.0)
        assert len(all_of(slow)) < ARRAY_BYTES


def test_a_log_that_cannot_be_written_keeps_no_answer_back(tmp_path, monkeypatch):
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "no room")

        flush = write

    with serving(tmp_path) as server:
        monkeypatch.setattr(sys, "stderr", Full())
        with connected(server.server_address[1]) as raw:
            raw.sendall(head(18, path="/elsewhere") + HELLO)
            assert "nothing is at" in said(all_of(raw))["error"]["message"]


def test_a_client_writes_no_lines_of_its_own_into_the_log(tmp_path, capsys):
    with serving(tmp_path) as server:
        assert "error" in asked(server.server_address[1], b'{"task": "a\\nb\\u001b[2J"}\n')
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[3:5] for line in lines] == [["a", "b\\x1b[2J:"]]


def test_a_port_that_is_used_again_while_a_wrong_key_is_refused_is_another_client(tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "WRONG_KEY_S", 0.5)
    with serving(tmp_path) as server:
        server.child = MadeUp(server.worked_in)  # type: ignore[assignment]
        port = server.server_address[1]
        with socket.create_connection(("localhost", port), LIMIT_S) as first:
            own = first.getsockname()
            first.sendall(head(18, key=KEY + "x") + HELLO)
            reset_at_its_end(first)
            time.sleep(0.1)
        with socket.create_connection(("localhost", port), LIMIT_S, own) as second:
            time.sleep(1.0)  # until the first is refused
            second.sendall(head(18) + HELLO)
            assert "result" in said(all_of(second))


def test_a_connection_for_which_no_thread_starts_takes_no_place(tmp_path, monkeypatch):
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with serving(tmp_path) as server:
        monkeypatch.setattr(socketserver.ThreadingMixIn, "process_request", no_thread)
        for _ in range(CONNECTIONS + 1):
            with pytest.raises(RuntimeError), socket.socket() as raw:
                server.process_request(raw, ("localhost", 1))
        monkeypatch.undo()
        server.child = MadeUp(server.worked_in)  # type: ignore[assignment]
        assert "result" in asked(server.server_address[1])


def test_listening_asks_no_name_server(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("asked for the full name of this computer"))
    with serving(tmp_path) as server:
        assert server.server_address[1] > 0


def test_a_message_to_a_client_names_no_path_of_the_server(tmp_path):
    with serving(tmp_path) as server:
        server.models["small"] = tmp_path / "models" / "small.zip"
        folder = server.own.path / "request1"
        text = f"{server.models['small']}: damaged; {folder}/x.npy: cut; {server.worked_in}/1/y.npy: full"
        assert server.nameless(text, folder) == "the server's model small: damaged; x.npy: cut; 1/y.npy: full"


def test_a_request_that_cannot_be_used_leaves_the_worker_and_its_model(tmp_path):
    worker, processes = child.Child(tmp_path, LIMIT_S), []
    for _ in range(2):
        with closing(worker.ask({"task": "nothing"})) as answers:
            assert "error" in next(answer for answer in answers if answer is not None)
        processes.append(worker._process)
    worker.end()
    assert processes[0] is processes[1] is not None


def test_a_model_that_was_damaged_meanwhile_does_not_hide_the_others(small_model, tmp_path, capsys):
    with serving(tmp_path) as server:
        server.child = MadeUp(server.worked_in)  # type: ignore[assignment]
        server.models |= {"lost": tmp_path / "lost", "small": small_model.path}
        models = asked(server.server_address[1])["result"]["models"]
    assert [each["name"] for each in models] == ["small"]
    assert "the model lost cannot be used" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT"])
def test_a_second_signal_does_not_stop_the_cleaning_up_and_nohup_holds(way):
    code = (
        "import signal, time; from clsdm.app.server import _end_once\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"  # as nohup has it
        "_end_once()\n"
        "try:\n    print('ready', flush=True); time.sleep(60)\n"
        "finally:\n    print('ending', flush=True); time.sleep(1); print('ended', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(getattr(signal, way))
        assert process.stdout.readline() == b"ending\n"
        process.send_signal(getattr(signal, way))
        assert process.stdout.readline() == b"ended\n"
        assert process.wait(LIMIT_S) == 0
