"""Who may speak with a server, and how encrypted: its key, its certificate, and addresses.

The key comes from a file or from the environment, never from the command line, which every user of a computer can read.
Unencrypted connections lead to this computer only, unless the user says otherwise.
"""

import contextlib
import hmac
import ipaddress
import os
import secrets
import ssl
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clsdm.errors import InputError
from clsdm.failures import SettingsError
from clsdm.files.names import given_path, regular_file

KEY_VARIABLE = "CLSDM_KEY"
KEY_LETTERS, KEY_BYTES = 16, 4096
"""The fewest that a key has, and the most that its file may have."""
PORT = 8765


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    encrypted: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{self.port}"


def listening(text: str, *, encrypted: bool) -> Address:
    """The address out of ``HOST:PORT``; port 0 takes a free one.

    Raises:
        InputError: no such address.
    """
    return _address("//" + text, encrypted, InputError(f"--listen: expected HOST:PORT, got {text!r}"))


def server_address(text: str) -> Address:
    """The address out of a server's URL.

    Raises:
        SettingsError: no address of a server.
    """
    where = "address of the server"
    error = SettingsError("address", f"expected https://HOST:PORT, got {text!r:.80}", where)
    scheme, found, rest = text.strip().partition("://")
    if "@" in rest:
        reason = "holds a name or a password; expected https://HOST:PORT and a key apart"
        raise SettingsError("address", reason, where)
    if not found or scheme.lower() not in ("http", "https") or "?" in rest or "#" in rest:
        raise error
    return _address("//" + rest.rstrip("/"), scheme.lower() == "https", error)


def _address(text: str, encrypted: bool, error: InputError) -> Address:
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        raise error from None
    if (
        not host
        or any((parts.path, parts.query, parts.fragment, "@" in parts.netloc))
        or not text.isprintable()
        or " " in text
    ):
        raise error
    return Address(host, PORT if port is None else port, encrypted)


def refuse_open(address: Address, unencrypted: bool, way_out: str) -> None:
    """Refuse an unencrypted connection that leaves this computer, unless the user said that it may.

    Raises:
        SettingsError: it does.
    """
    if not (address.encrypted or unencrypted or _of_this_computer(address.host)):
        raise SettingsError("unencrypted", "X-rays would travel unencrypted", str(address), way_out)


def _of_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_key(file: str | None, *, make: bool = False) -> str:
    """The key, from a file or from the environment.

    Args:
        file: its file; None takes the variable ``CLSDM_KEY``.
        make: a file that is not there is made, with a new key, for this user's eyes only.

    Raises:
        SettingsError: no key, or one that can be guessed.
    """
    if file is None:
        key, where = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not key:
            raise SettingsError("key", "none given", "key", f"name a file with --key-file, or set {KEY_VARIABLE}")
    else:
        where = file
        with _setting("key", file):
            path = given_path(file, "--key-file")
            if make and not path.exists():
                _make_key(path)
            with regular_file(path, "key's file").open("rb") as stream:
                key = _text(stream.read(2 * KEY_BYTES + 2)).strip()
    if not (KEY_LETTERS <= len(key) <= KEY_BYTES and key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError("key", f"expected a key of {KEY_LETTERS} or more letters and digits, in one line", where)
    return key


@contextlib.contextmanager
def _setting(field: str, file: str) -> Iterator[None]:
    """While the file that holds a setting is read.

    Raises:
        SettingsError: it cannot be.
    """
    try:
        yield
    except OSError as error:
        raise SettingsError(field, f"cannot be read ({error.strerror})", file) from None
    except InputError as error:
        raise SettingsError(field, error.remark.removeprefix(f"{Path(file)}: "), file) from None


def _text(data: bytes) -> str:
    """Text as editors and PowerShell save it: UTF-8, with its mark or without, or UTF-16."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")


def _make_key(path: Path) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def is_key(found: str, key: str) -> bool:
    """Whether a header's ``Authorization`` holds the key, in a time that tells nothing of where it differs."""
    return hmac.compare_digest(found.encode("utf-8", "replace"), f"Bearer {key}".encode())


def server_context(cert: str, key: str | None) -> ssl.SSLContext:
    """TLS with a server's own certificate.

    Args:
        cert: PEM file of the certificate and those that vouch for it.
        key: PEM file of its private key; None: in the same file.

    Raises:
        InputError: they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(regular_file(cert, "--cert"), None if key is None else regular_file(key, "--cert-key"))
    except (OSError, ValueError) as error:
        raise InputError(f"--cert: {cert} is no certificate with its key, in PEM ({error})") from None
    return context


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS that verifies who the server is.

    Args:
        ca_file: PEM file of the authority that vouches for it, as of a hospital; None: those of the system.

    Raises:
        SettingsError: it cannot be used.
    """
    if ca_file is None:
        return ssl.create_default_context()
    with _setting("authority", ca_file):
        file = regular_file(ca_file, "certificate")
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ValueError):
        raise SettingsError("authority", "holds no certificate in PEM", ca_file) from None
