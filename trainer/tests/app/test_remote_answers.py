"""A client of a server that answers nonsense, is cut, or would have the client's own files: one line, and nothing is touched."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from listening import reset_at_its_end
from worker_process import LIMIT_S

from clsdm.app import access, remote
from clsdm.errors import InputError
from clsdm.failures import ServerError, kind_of

HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


@contextmanager
def saying(answer: bytes, *, reset: bool = False) -> Iterator[remote.Server]:
    """A client of a server that says this to whatever it is asked, and that has greeted already."""

    def serve() -> None:
        with listener.accept()[0] as connection, connection.makefile("rb") as request:
            length = 0
            while line := request.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name == b"Content-Length" else length
            request.read(length)
            connection.sendall(answer)
            if reset:
                reset_at_its_end(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = access.server_address(f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = remote.Server(address, "a-key-of-the-tests-0123", None)
        client._known = True
        yield client
        thread.join(LIMIT_S)


def line(**message: Any) -> bytes:
    return HEAD + json.dumps(message).encode() + b"\n"


class Silent:
    def __call__(self, *_: object) -> None:
        pass

    load = __call__


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (line(stage="sample"), "gives no answer of this program"),
        (line(stage="sample", i="x", n=2), "gives no answer of this program"),
        (HEAD + b'{"stage": "sample", "i": 1e999, "n": 2}\n', "gives no answer of this program"),
        (line(stage="sample", i=[1], n=2), "gives no answer of this program"),
        (line(error=5), "gives no answer of this program"),
        (line(error={"kind": "input"}), "gives no answer of this program"),
        (HEAD + b'{"files": {}, "result": ' + b"[" * 600 + b"]" * 600 + b"}\n", "gives no answer of this program"),
        (line(result={}, files={"sent": 1}) + b"x", "files: sent is there already"),
        (line(result=[1], files={}), "gives no answer of this program"),
        (line(result={}, files={"../x.npy": 1}), "expected the plain name of a file"),
        (line(result={}, files=[1]), "files: expected at most 64 sizes"),
        (line(result={}), "files: expected at most 64 sizes"),
        (line(result={"volume": "v.npy"}, files={"v.npy": 10}) + b"12345", "v.npy: ended 5 bytes early"),
        (line(result={"volume": "/etc/passwd"}, files={}), "names a file of this computer"),
    ],
)
def test_an_answer_that_is_none_is_the_servers_fault(answer, problem, tmp_path):
    with saying(answer) as client, pytest.raises(Exception, match=problem) as refused:
        client.ask("warm", tmp_path, Silent(), {})
    assert kind_of(refused.value) == "server"
    assert "\n" not in str(refused.value)


def test_a_connection_that_is_reset_in_an_array_was_lost_and_nothing_could_not_be_written(tmp_path):
    answer = line(result={"volume": "v.npy"}, files={"v.npy": 10**7}) + bytes(1000)
    with saying(answer, reset=True) as client, pytest.raises(ServerError) as refused:
        client.ask("warm", tmp_path, Silent(), {})
    assert "cannot be written" not in str(refused.value)


def test_a_disk_that_is_full_here_is_no_fault_of_the_server(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with saying(line(result={"volume": "v.npy"}, files={"v.npy": 4}) + b"1234") as client:
        monkeypatch.setattr(remote, "message_of", lambda *_: (1, iter([b"x"])))
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(InputError, match="disk full") as refused:
            client.ask("warm", tmp_path, Silent(), {})
        monkeypatch.undo()
    assert kind_of(refused.value) == "disk"


@pytest.mark.parametrize("name", ["absolute", "relative", "climbing"])
def test_no_file_of_the_user_is_moved_because_a_server_names_it(name, tmp_path, monkeypatch):
    folder, mine = tmp_path / "worker", tmp_path / "mine.dcm"
    folder.mkdir()
    mine.write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "pack_volume", lambda *_: "ct.mha")
    named = {"absolute": str(mine), "relative": "mine.dcm", "climbing": f"{folder}/../mine.dcm"}[name]
    with saying(line(result={"files": [named]}, files={})) as client, pytest.raises(ServerError, match="names"):
        client.simulate(folder, Silent(), "ct.nii.gz", str(tmp_path / "out"))
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "out").exists()
