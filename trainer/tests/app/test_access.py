"""Who may use a server, and over which way: its options, and its key."""

import json
import os

import pytest

from clsdm.app import access, worker
from clsdm.app.cli import main
from clsdm.errors import InputError

KEY = "a-key-of-the-tests-0123"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "0.0.0.0:0"], "would travel unencrypted; name a certificate"),
        (["--listen", "nowhere"], "would travel unencrypted"),
        (["--listen", "localhost:0"], "--key-file"),
        (["--listen", "localhost:x"], "expected HOST:PORT"),
        (["--listen", "localhost:0", "--key-file", "short"], "expected a key of 16 or more"),
        (["--listen", "localhost:0", "--key-file", "key", "--cert", "short"], "short is no certificate"),
        (["--folder", ".", "--server", "http://example.org"], "would travel unencrypted; use https"),
        (["--folder", ".", "--server", "ftp://example.org"], "expected https://HOST:PORT"),
        (["--folder", ".", "--server", "https://me:secret@example.org"], "expected https://HOST:PORT"),
        (["--folder", ".", "--server", "https://localhost"], "--key-file"),
        (["--folder", ".", "--server", "https://localhost", "--ca-file", "short"], "no certificate in PEM"),
        ([], "name a folder with --folder"),
        (["--listen", "localhost:0?x", "--key-file", "key"], "expected HOST:PORT"),
        (["--listen", "me@localhost:0", "--key-file", "key"], "expected HOST:PORT"),
        (["--listen", "localhost:0", "--folder", "."], "--folder: does not go with --listen"),
        (["--listen", "localhost:0", "--server", "https://localhost"], "--server: does not go with --listen"),
        (["--listen", "localhost:0", "--key-file", "key", "--cert-key", "key"], "--cert-key: goes with --cert"),
        (["--folder", ".", "--cert", "short"], "--cert: goes with --listen"),
        (["--folder", ".", "--model", "short"], "--model: goes with --listen"),
        (["--folder", ".", "--ca-file", "short"], "--ca-file: goes with --server"),
        (["--folder", ".", "--unencrypted"], "--unencrypted: goes with --listen or --server"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(access.KEY_VARIABLE, raising=False)
    (tmp_path / "short").write_text("secret")
    (tmp_path / "key").write_text(KEY)
    assert main(["serve", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "secret" not in error


@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        (["--server", "example.org:1"], "address", "expected https://HOST:PORT, got 'example.org:1'"),
        (["--server", "http://example.org"], "unencrypted", "X-rays would travel unencrypted"),
        (["--server", "https://localhost", "--key-file", "short"], "key", "expected a key of 16 or more letters"),
        (["--server", "https://localhost", "--key-file", "none"], "key", "no such file"),
        (["--server", "https://localhost", "--key-file", "."], "key", "a folder, expected a key's file"),
        (["--server", "https://localhost"], "key", "none given"),
        (["--server", "https://localhost", "--ca-file", "short"], "authority", "holds no certificate in PEM"),
        (["--server", "https://localhost", "--ca-file", "none"], "authority", "no such file"),
    ],
)
def test_the_program_that_starts_a_worker_is_told_which_of_its_settings_is_wrong_without_paths(
    options, field, reason, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(access.KEY_VARIABLE, raising=False)
    (tmp_path / "short").write_text("secret")
    assert worker.main(["--folder", ".", *options]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["error"]["kind"], told["error"]["field"]) == (None, "settings", field)
    assert told["error"]["message"].startswith(reason)
    for other in ("--", "short", "none:", "secret"):
        assert other not in told["error"]["message"]


def test_another_refusal_at_the_start_is_not_of_the_servers_settings(tmp_path, capsys):
    assert worker.main(["--folder", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
def test_a_key_is_read_as_editors_and_powershell_save_it(encoding, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\r\n", encoding=encoding)
    assert access.read_key(str(tmp_path / "key")) == KEY
    (tmp_path / "key").write_bytes(b"\xff\xfe" + bytes(9))  # an odd number of bytes
    with pytest.raises(InputError, match="expected a key of 16"):
        access.read_key(str(tmp_path / "key"))


def test_a_key_is_made_for_its_owner_alone_and_read_again(tmp_path):
    made = access.read_key(str(tmp_path / "key"), make=True)
    assert len(made) > 40
    assert access.read_key(str(tmp_path / "key")) == made
    if os.name == "posix":
        assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="no such file"):
        access.read_key(str(tmp_path / "other"))
    assert access.is_key(f"Bearer {made}", made)
    assert not any(access.is_key(text, made) for text in ("", made, f"Bearer {made[:-1]}", "Bearer \udcff"))
