"""Downloads of models: encrypted all the way, no larger than any model, and of the content that was promised.

The address carries the hash that whoever offers the model gives with it, ``https://host/model.zip#sha256=<64 hex digits>``;
what is before the ``#`` is what the server sees.
"""

import hashlib
import re
import time
import urllib.parse
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

from clsdm.errors import InputError
from clsdm.files.atomic import room_for
from clsdm.limits import DOWNLOAD_BYTES, check_bytes
from clsdm.progress import Report

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
"""Without a byte."""
SMALL_S = 60.0
"""For the whole of a small file, however its bytes trickle in."""


def download(url: str, target: Path, report: Report) -> None:
    """Write what is at an address to ``target``, whole and as promised, or not at all.

    Raises:
        InputError: the address is not encrypted, here or after a redirection, or without a hash; the content is too
            large, cut, or another than promised; or the disk is full.
        OSError: the network fails.
    """
    address, expected = split_address(url)
    digest, done = hashlib.sha256(), 0
    opener = urllib.request.build_opener(_EncryptedOnly)
    try:
        with opener.open(address, timeout=TIMEOUT_S) as source, target.open("wb") as file:
            total = _length(source.headers)
            check_bytes(total, DOWNLOAD_BYTES, address, "a model")
            report("download", 0, total)
            while block := source.read(BLOCK_BYTES):
                done += len(block)
                check_bytes(done, DOWNLOAD_BYTES, address, "a model")
                with room_for(target, max(total, done)):
                    file.write(block)
                digest.update(block)
                report("download", done, max(total, done))
        if total and done != total:
            raise InputError(f"{address}: the connection ended after {done:,} of {total:,} bytes; try again")
        if digest.hexdigest() != expected:
            raise InputError(
                f"{address}: its SHA-256 is {digest.hexdigest()}; expected {expected}, as the address says"
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def fetched(url: str, most: int) -> bytes:
    """A small file over https, after every redirection too.

    Raises:
        InputError: the address is not encrypted, or the content too large.
        OSError: the network fails, or takes too long.
    """
    check_encrypted(url)
    end, data = time.monotonic() + SMALL_S, b""
    with urllib.request.build_opener(_EncryptedOnly).open(url, timeout=TIMEOUT_S) as source:
        while len(data) <= most and (block := source.read1(BLOCK_BYTES)):
            data += block
            if time.monotonic() > end:
                raise TimeoutError(f"{url}: not there after {SMALL_S:g} s")
    check_bytes(len(data), most, url, "an index")
    return data


def split_address(url: str) -> tuple[str, str]:
    """The request to a server, and the hash that is expected.

    Raises:
        InputError: not encrypted, or no hash.
    """
    check_encrypted(url)
    address, _, fragment = url.partition("#")
    promised = re.fullmatch(r"sha256=([0-9A-Fa-f]{64})", fragment)
    if promised is None:
        raise InputError(
            f"{url}: expected an address that ends with #sha256= and the 64 digits that its provider gives for the file; "
            "or download the file yourself and add it from there"
        )
    return address, promised[1].lower()


def check_encrypted(url: str) -> None:
    """Refuse any address but https.

    Raises:
        InputError: another scheme, or no host.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0  # port: raises where it is none
        (parts.hostname or "").encode("idna")
        fits = fits and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"{url}: expected an address that begins with https://, of a host and letters of ASCII")


class _EncryptedOnly(urllib.request.HTTPRedirectHandler):
    """Follows no redirection that leaves https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        check_encrypted(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _length(headers: HTTPMessage) -> int:
    """The bytes that the server says it will send; 0 where it does not say."""
    try:
        return max(0, int(headers.get("Content-Length") or 0))
    except ValueError:
        return 0
