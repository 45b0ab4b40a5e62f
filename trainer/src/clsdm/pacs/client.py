"""The connection to a PACS: encrypted, with credentials from the environment, of bounded size and patience.

Nothing that a PACS says, no address within it, no UID and no credential goes into a message or a log: what failed is named
by the name of the host and the kind of the failure.
"""

import ipaddress
import logging
import os
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydicom import Dataset

from clsdm.errors import InputError, reading
from clsdm.files.names import regular_file
from clsdm.limits import IMAGE_BYTES, JSON_BYTES, PACS_ANSWER_S, PACS_RESULTS, check_bytes

USER, PASSWORD, TOKEN = "CLSDM_PACS_USER", "CLSDM_PACS_PASSWORD", "CLSDM_PACS_TOKEN"
TRIES, WAIT_S = 4, 1.0
"""How often what may be repeated is tried, and the seconds before the second try; twice as many before each further one."""
PASSING = (408, 429, 502, 503, 504)
"""Answers of a server that is busy."""
BLOCK_BYTES = 2**20
PAGE = 500
Made = TypeVar("Made")
Found = dict[str, Any]
"""An object of DICOM JSON: {tag: {"vr": ..., "Value": [...]}}."""


class Pacs:
    """A PACS that was given by its address.

    Args:
        url: where its DICOMweb services are.
        ca_bundle: file with the certificates to trust, in place of the public ones.
        timeout_s: without a byte.
        environ: for credentials.

    Attributes:
        host: for messages.

    Raises:
        InputError: not an address, not encrypted, or the library is not installed.
    """

    def __init__(
        self, url: str, ca_bundle: str | None = None, timeout_s: float = 30.0, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.host = host_of(url)
        try:
            import requests
            from dicomweb_client.web import DICOMwebClient
        except ImportError:
            raise InputError(
                "a PACS needs the package dicomweb-client; install it with: pip install 'clsdm[pacs]'"
            ) from None
        for name in ("dicomweb_client", "retrying", "urllib3"):  # they log addresses, which hold UIDs
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        trusted = ca_bundle or environ.get("REQUESTS_CA_BUNDLE")
        session = requests.Session()
        session.trust_env = False  # what is taken from the environment is said here, and nothing of it beats an option
        session.proxies = requests.utils.get_environ_proxies(url)  # type: ignore[assignment]
        session.verify = True if not trusted else _certificates(trusted)
        session.auth = self._credentials(environ) or requests.utils.get_netrc_auth(url)
        session.hooks["response"].append(self._read)
        self._requests, self._timeout_s = requests, timeout_s
        with reading(self.host, "address"):
            self._web = DICOMwebClient(url.rstrip("/"), session, chunk_size=JSON_BYTES * 8, timeout=timeout_s)
        # It repeats everything, what it stores too, and by then has no data.
        self._web.set_http_retry_params(retry=False)

    def search(
        self, what: str, where: Sequence[str] = (), wanted: Mapping[str, str] | None = None, most: int = PACS_RESULTS
    ) -> list[Found]:
        """All that fit.

        Args:
            what: "studies", "series" or "instances".
            where: StudyInstanceUID, SeriesInstanceUID, as far as they are known.
            wanted: values by keyword.
            most: that may fit.

        Raises:
            InputError: it fails, or too many fit.
        """
        call: Callable[..., list[Found]] = getattr(self._web, f"search_for_{what}")
        found: list[Found] = []

        def page() -> list[Found]:
            answer = call(*where, limit=PAGE, offset=len(found), search_filters=dict(wanted or {}))
            if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
                raise InputError(f"{self.host}: answers with something else than a list of {what}")
            return answer

        while len(found) <= most:
            more: list[Found] = self.again(page, missing=[] if where else None)
            if not more or more[0] in found[:1]:  # one that knows no pages gives the first again
                return found
            found += more
        raise InputError(f"{self.host}: more than {most:,} {what} fit; expected a question that fewer answer")

    def instance(self, study: str, series: str, instance: str) -> Dataset:
        """One DICOM object, as it is stored.

        Raises:
            InputError: it cannot be had.
        """
        return self.again(lambda: self._web.retrieve_instance(study, series, instance))

    def store(self, study: str, datasets: Sequence[Dataset]) -> None:
        """Store objects in a study: one try, because nobody knows what a failed one has stored.

        Raises:
            InputError: the PACS refuses one of them.
            requests.RequestException: it fails; for :meth:`again`, by whoever looks first what is there.
        """
        answer = self._web.store_instances(datasets, study)
        refused = [each.get("FailureReason") for each in answer.get("FailedSOPSequence", [])]
        if refused:
            reasons = ", ".join(sorted({"no reason" if each is None else f"{each:04X}" for each in refused}))
            raise InputError(f"{self.host}: refuses {len(refused)} of {len(datasets)} images ({reasons})")

    def wait_until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Give a PACS that files what it got a little later the time for it.

        Raises:
            InputError: it takes too long.
        """
        for number in range(TRIES):
            if true():
                return
            time.sleep(WAIT_S * 2**number)
        raise InputError(f"{self.host}: {otherwise}")

    def again(self, call: Callable[[], Made], missing: Made | None = None) -> Made:
        """The answer to a request that may be repeated, at the first try that succeeds.

        Args:
            call: asks.
            missing: the answer where the PACS says that nothing is there, if that is one.

        Raises:
            InputError: none succeeds.
        """
        for number in range(1, TRIES + 1):
            try:
                with reading(self.host, "answer"):
                    return call()
            except InputError as error:
                cause = error.__cause__
                if missing is not None and self._status(cause) == 404:
                    return missing
                if not isinstance(cause, self._requests.RequestException):
                    raise
                if number == TRIES or not self._passes(cause):
                    raise self._in_words(cause) from None
            time.sleep(WAIT_S * 2 ** (number - 1))
        raise AssertionError  # the last try returns or raises

    def _read(self, response: Any, **_: object) -> Any:  # noqa: ANN401 - a requests.Response, before its content
        """Read an answer as far as it may go, in the place where requests would read all of it."""
        if response.is_redirect:
            raise InputError(f"{self.host}: leads to another address; expected the one of its DICOMweb services")
        kind = str(response.headers.get("Content-Type", ""))
        most = JSON_BYTES if "json" in kind.lower() else IMAGE_BYTES
        blocks, size, end = [], 0, time.monotonic() + PACS_ANSWER_S
        for block in response.iter_content(BLOCK_BYTES):
            size += len(block)
            check_bytes(size, most, self.host, "one answer")
            if time.monotonic() > end:
                raise self._requests.Timeout
            blocks.append(block)
        response._content = b"".join(blocks)
        return response

    def _credentials(self, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - what requests calls an auth
        if token := environ.get(TOKEN):
            if not re.fullmatch("[!-~]+", token):
                raise InputError(f"{TOKEN}: holds blanks, line ends or letters that no token has")

            def bear(request: Any) -> Any:  # noqa: ANN401
                request.headers["Authorization"] = f"Bearer {token}"
                return request

            return bear
        if (USER in environ) != (PASSWORD in environ):
            raise InputError(f"{USER} and {PASSWORD}: one of them is not set; expected both, or none")
        return (environ[USER].encode(), environ[PASSWORD].encode()) if USER in environ else None  # UTF-8, by RFC 7617

    def _status(self, error: BaseException | None) -> int | None:
        return getattr(getattr(error, "response", None), "status_code", None)

    def _passes(self, error: BaseException) -> bool:
        """Whether the same may succeed a little later."""
        of_way = (
            self._requests.ConnectionError,
            self._requests.Timeout,
            self._requests.exceptions.ChunkedEncodingError,
        )
        passing = isinstance(error, of_way) and not isinstance(error, self._requests.exceptions.SSLError)
        return passing or self._status(error) in PASSING

    def _in_words(self, error: BaseException) -> InputError:
        known, status = self._requests.exceptions, self._status(error)
        if status in (401, 403):
            text = f"refuses the credentials ({status}); set {USER} and {PASSWORD}, or {TOKEN}, or name the host in ~/.netrc"
        elif status in (404, 405):
            text = f"found nothing there ({status}); expected the address of its DICOMweb services, like https://host/dicom-web"
        elif status is not None:
            text = f"answered {status}"
        elif isinstance(error, known.InvalidJSONError):
            text = "answers with something else than JSON; expected the address of DICOMweb services, like https://host/dicom-web"
        elif isinstance(error, known.SSLError) and "CERTIFICATE_VERIFY_FAILED" not in str(error):
            text = "the encryption fails; expected a server, and a port, that speaks https"
        elif isinstance(error, known.SSLError):
            text = "its certificate is not trusted; name the file of the one that signed it with --ca-bundle"
        elif isinstance(error, known.Timeout):
            text = f"no answer within {self._timeout_s:g} s"
        else:
            text = f"cannot be reached, or ended the connection ({type(error).__name__})"
        return InputError(f"{self.host}: {text}")


def host_of(url: str) -> str:
    """The host, and its port, of an address that may be used.

    Raises:
        InputError: not an address, credentials in it, or one where others could listen: only this computer itself may be
            spoken to without encryption.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("https", "http") or parts.query or parts.fragment or not url.isprintable():
        raise InputError("--url: expected the address of DICOMweb services, like https://host/dicom-web")
    if parts.username or parts.password:
        raise InputError(f"--url: holds credentials; set {USER} and {PASSWORD} in the environment instead")
    if parts.scheme != "https" and not _is_here(host):
        raise InputError(
            f"{host}: not encrypted; expected https://, or http:// to this computer alone (a tunnel's end)"
        )
    return host if port is None else f"{host}:{port}"


def _certificates(file: str) -> str:
    path = regular_file(file, "file with certificates")
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise InputError(f"{path}: holds no certificate; expected a file in PEM") from None
    return str(path)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
