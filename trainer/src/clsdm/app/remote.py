"""The worker's tasks where a server does them: X-rays are read here, and nothing but arrays and geometry leaves.

``clsdm serve --folder F --server URL`` is a worker like any other to whoever started it, with the same requests and
answers, but without torch. The server is ``clsdm.app.server``; a message of either side is one of ``sent``.
"""

import argparse
import contextlib
import http.client
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from clsdm import __version__
from clsdm.app.access import Address, client_context, read_key, refuse_open, server_address
from clsdm.app.answers import unpack_reconstruction
from clsdm.app.bundle_tasks import check_bundle, fetch, index, install
from clsdm.app.load import figures_in
from clsdm.app.maker import Look, Maker
from clsdm.app.request import xrays_of
from clsdm.app.sent import message_of, pack_volume, pack_xray, read_files, read_line, with_texts
from clsdm.app.worker import Answer, Task, Voice
from clsdm.errors import InputError, reading
from clsdm.failures import ReportedError, ServerError, described, kind_of
from clsdm.files.atomic import written_together
from clsdm.files.names import given_path, nameless, refuse_replacing
from clsdm.files.strict_json import from_plain, to_plain
from clsdm.limits import SENT_BYTES, check_bytes
from clsdm.model.facts import Facts
from clsdm.options import Options
from clsdm.result import Reconstruction
from clsdm.xray.dicom import is_simulated
from clsdm.xray.image import XRay
from clsdm.xray.pair import refuse_two_patients

PATH = "/v1/work"
PROTOCOL = 2
"""Of the messages."""
CONNECT_S, SILENT_S = 10.0, 60.0
"""Until somebody answers, and without a byte: a server that works says so every few seconds."""


class Server:
    """A server as its client sees it.

    Args:
        address: of the server.
        key: that it wants.
        context: TLS; None only for an address that is not encrypted.
    """

    def __init__(self, address: Address, key: str, context: ssl.SSLContext | None) -> None:
        self._address, self._key, self._context = address, key, context
        self._known, self._name = False, f"the server {address}"

    def hello(self, folder: Path, report: Voice) -> Answer:
        """The server's "clsdm", "torch", "python", "devices" as of the local worker, its "models", and "reached_s".

        Raises:
            ServerError: see :meth:`ask`; or its version and this one do not understand each other.
        """
        began = time.perf_counter()
        answer = self._asked("hello", folder, report, {}, []) | {"reached_s": time.perf_counter() - began}
        if (theirs := answer.get("protocol")) != PROTOCOL:
            older = "this computer" if type(theirs) is int and theirs > PROTOCOL else "the server"
            versions = f"protocol {theirs!s:.20} of clsdm {answer.get('clsdm')!s:.20}, this computer {PROTOCOL} of {__version__}"
            raise ServerError(f"{self._name} speaks {versions}; update clsdm on {older}")
        try:
            models = [_model_of(each) for each in answer["models"]]
        except (InputError, LookupError, TypeError):
            raise ServerError(f"{self._name} gives no answer of this program (no list of models)") from None
        self._known = True
        return answer | {"models": models}

    def warm(self, folder: Path, report: Voice, bundle: str | None = None, device: str = "auto") -> Answer:
        """As the local worker's, and so all others; ``bundle`` is the name of one of the server's models."""
        return self.ask("warm", folder, report, {"bundle": bundle, "device": device})

    def reconstruct(
        self,
        folder: Path,
        report: Voice,
        views: list[dict[str, Any]],
        options: dict[str, Any],
        bundle: str | None = None,
        preset: str = "chest",
    ) -> Answer:
        xrays, how = _read(views, preset, report), from_plain(Options, options, "request.options")
        return self._reconstructed(folder, report, xrays, how, bundle)[0]

    def _reconstructed(
        self, folder: Path, report: Voice, xrays: Sequence[XRay], options: Options, bundle: str | None
    ) -> tuple[Answer, Reconstruction]:
        """The answer, and what it says.

        Raises:
            ReportedError: see :meth:`_ask_of_xrays`; or it is none to this question.
        """
        fields = {"options": to_plain(options), "bundle": bundle}
        answer = self._ask_of_xrays("reconstruct", folder, report, xrays, lambda sent: fields | {"views": sent})
        try:
            with reading(self._name, "answer"):
                return answer, unpack_reconstruction(answer, folder, xrays, options, self._name)
        except InputError as error:
            fault = described(error)
            is_theirs = fault["kind"] == "input"  # else the memory, or the disk, of this computer
            raise ReportedError(fault | ({"kind": "server"} if is_theirs else {})) from None

    def reconstruct_many(
        self,
        folder: Path,
        report: Voice,
        cases: dict[str, Any],
        options: dict[str, Any],
        out: str,
        bundle: str | None = None,
        preset: str = "chest",
    ) -> Answer:
        """As the local worker's, which reads and writes here; the server is asked for one patient after the other."""
        from clsdm.app.batch_task import many  # late, as in tasks: every worker imports this file for its command line

        maker = self._maker(folder, report, bundle)
        report("patients", 0, len(cases))
        return many(cases, {"options": options, "bundle": bundle, "preset": preset}, out, maker, report)

    def _maker(self, folder: Path, report: Voice, bundle: str | None) -> Maker:
        """The server, with one of its models; of the progress of each patient nothing is heard but the server's load."""
        hello = self.hello(folder, report)
        model = next((each for each in hello["models"] if bundle in (None, each["name"])), None)
        if model is None:
            has = ", ".join(each["name"] for each in hello["models"]) or "none that can be used"
            raise InputError(f"{self._name} has no model{'' if bundle is None else f' {bundle!r:.60}'}; it has {has}")

        def load_alone(said: Answer) -> None:
            if "load" in said:
                report.load(said["load"])

        def work(xrays: Sequence[XRay], options: Options) -> Look:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                voice = Voice(report.number, load_alone)
                _, made = self._reconstructed(Path(own), voice, xrays, options, model["name"])
            if made.provenance.get("model_sha256") != model["sha256"]:
                raise ServerError(f"{self._name} has another model {model['name']} now; begin anew")
            return lambda: made

        theirs = str(hello.get("clsdm"))
        both = theirs if theirs == __version__ else f"{theirs}, X-rays read by {__version__}"
        return Maker(model["sha256"], both, (), work)

    def preview(
        self, folder: Path, report: Voice, view: dict[str, Any], bundle: str | None = None, preset: str = "chest"
    ) -> Answer:
        fields, xrays = {"bundle": bundle}, _read([view], preset, report)
        return self._ask_of_xrays("preview", folder, report, xrays, lambda sent: fields | {"view": sent[0]})

    def simulate(
        self,
        folder: Path,
        report: Voice,
        ct: str,
        out: str,
        preset: str = "chest",
        angles: tuple[float, ...] = (0.0, 90.0),
    ) -> Answer:
        into = given_path(out, "out")
        fields = {"ct": pack_volume(ct, "ct", self._sending(folder)), "preset": preset, "angles": angles}
        answer = self.ask("simulate", folder, report, fields)
        files = [Path(str(file)) for file in _listed(answer.get("files"))]
        if any(file.parent != folder for file in files):  # else a server could have any file of this computer moved
            raise ServerError(f"{self._name} names files that it did not send")
        refuse_replacing((into / file.name for file in files), is_simulated)
        with written_together(into) as scratch:
            for file in files:
                shutil.move(file, scratch)
        return answer | {"files": [str(into / file.name) for file in files]}

    def compare(self, folder: Path, report: Voice, reconstruction: str, truth: str) -> Answer:
        sending = self._sending(folder)
        fields = {"reconstruction": pack_volume(reconstruction, "reconstruction", sending)}
        return self.ask("compare", folder, report, fields | {"truth": pack_volume(truth, "truth", sending)})

    def fixed(self, folder: Path, report: Voice, reconstruction: str, views: list[dict[str, Any]]) -> Answer:
        sent = pack_volume(reconstruction, "reconstruction", self._sending(folder))
        return self.ask("fixed", folder, report, {"reconstruction": sent, "views": views})

    def _ask_of_xrays(
        self,
        task: str,
        folder: Path,
        report: Voice,
        xrays: Sequence[XRay],
        fields: Callable[[list[Any]], dict[str, Any]],
    ) -> Answer:
        """Ask about X-rays; in what comes back they have their own names again.

        Raises:
            InputError: they are of two patients, who are told apart here, where they are known.
            ServerError: see :meth:`ask`.
            ReportedError: likewise.
        """
        refuse_two_patients(xrays)
        sent = [pack_xray(xray, number, self._sending(folder)) for number, xray in enumerate(xrays, 1)]
        names = {f"X-ray {number}": xray.source for number, xray in enumerate(xrays, 1)}
        try:
            answer = self.ask(task, folder, report, fields(sent))
        except ReportedError as error:
            message = nameless(error.report["message"], names)
            raise ReportedError(error.report | {"message": message}) from None
        return with_texts(answer, lambda text: nameless(text, names))

    @staticmethod
    def _sending(folder: Path) -> Path:
        """The folder of what a request sends."""
        (folder / "sent").mkdir(exist_ok=True)
        return folder / "sent"

    def ask(self, task: str, folder: Path, report: Voice, fields: dict[str, Any]) -> Answer:
        """The server's answer, with its arrays in ``folder``; what was written for the request goes with it.

        Raises:
            ServerError: it cannot be reached, refuses, or falls silent.
            ReportedError: it tells of a failure.
        """
        if not self._known:
            self.hello(folder, report)
        sending = self._sending(folder)
        try:
            return self._asked(task, folder, report, fields, sorted(sending.iterdir()))
        finally:
            shutil.rmtree(sending, ignore_errors=True)

    def _asked(self, task: str, folder: Path, report: Voice, fields: dict[str, Any], files: list[Path]) -> Answer:
        size, blocks = message_of({"task": task, **fields}, files)
        check_bytes(size, SENT_BYTES, "request", "arrays")
        connection = self._connected()
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Length": str(size)}
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # it reads no further; it may have said why
                connection.request("POST", PATH, _told(blocks, size, report), headers)
            response = connection.getresponse()
            if response.status == http.client.UNAUTHORIZED:
                raise ServerError(f"{self._name} does not take this key")
            return self._heard(response, folder, report)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._context is None:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=self._context)
        try:
            connection.connect()
        except OSError as error:
            raise self._lost(error) from error
        connection.sock.settimeout(SILENT_S)
        return connection

    def _heard(self, response: http.client.HTTPResponse, folder: Path, report: Voice) -> Answer:
        while True:
            try:
                answer = read_line(response, self._name)
                progress, failure = _progress_in(answer), _failure_in(answer)
            except (InputError, LookupError, TypeError, ValueError, OverflowError):
                reason = f"gives no answer of this program (HTTP status {response.status})"
                raise ServerError(f"{self._name} {reason}") from None
            if failure is not None:
                raise failure
            if progress is not None:
                report(*progress)
                if (load := figures_in(answer.get("load"))) is not None:
                    report.load(load)
            if "result" in answer:
                return self._result(answer, response, folder)

    def _result(self, answer: Answer, response: http.client.HTTPResponse, folder: Path) -> Answer:
        """The result with its arrays; what is wrong with them is the server's, but for a full disk here.

        Raises:
            ServerError: it is no result, was cut, or names a file of this computer.
        """
        try:
            paths = read_files(answer.get("files"), response, folder, self._name)
        except InputError as error:
            if kind_of(error) == "disk" or error.__cause__ is not None:  # which could not be written
                raise
            raise ServerError(str(error)) from None
        if not isinstance(answer["result"], dict):
            raise ServerError(f"{self._name} gives no answer of this program (no result)")
        received = {path.name: str(path) for path in paths}

        def named(text: str) -> str:
            if Path(text).is_absolute() and os.path.lexists(text):
                raise ServerError(f"{self._name} names a file of this computer")
            return received.get(text, text)

        return with_texts(answer["result"], named)

    def _lost(self, error: Exception) -> ServerError:
        if isinstance(error, ServerError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"{self._name} has a certificate that is not to be trusted ({error.verify_message})"
            return ServerError(what, _ABOUT_CERTIFICATE.get(error.verify_code, "authority"))
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = "no answer in time"
        elif isinstance(error, _ENDED):
            reason = "it ended the connection without an answer"
        return ServerError(f"{self._name} cannot be reached, or the connection was lost ({reason})")


_ABOUT_CERTIFICATE = {9: "", 10: "", 62: "address", 64: "address"}
"""Which setting may be wrong, by OpenSSL's X509_V_ERR_*: not yet or no longer valid, of another host, of another IP address.
Of all others it is the authority."""
_ENDED = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def _progress_in(answer: Answer) -> tuple[str, int, int] | None:
    return (str(answer["stage"]), int(answer["i"]), int(answer["n"])) if "stage" in answer else None


def _failure_in(answer: Answer) -> ReportedError | None:
    if "error" not in answer:
        return None
    if not answer["error"]["message"]:
        raise ValueError("a failure without a word")
    return ReportedError(answer["error"])


def _model_of(plain: Any) -> Answer:  # noqa: ANN401 - untrusted JSON
    """The facts of a model and its name, without what only a newer server says of it."""
    known = {field.name: plain[field.name] for field in fields(Facts)}
    return to_plain(from_plain(Facts, known, "model")) | {"name": str(plain["name"])}


def _listed(plain: Any) -> list[Any]:  # noqa: ANN401 - untrusted JSON
    return plain if isinstance(plain, list) else []


def _read(views: list[dict[str, Any]], preset: str, report: Voice) -> list[XRay]:
    report("read X-rays", 0, len(views))
    xrays = xrays_of(views, preset)
    report("read X-rays", len(xrays), len(xrays))
    return xrays


def _told(blocks: Iterator[bytes], size: int, report: Voice) -> Iterator[bytes]:
    """The blocks of a message, with its progress where there is something to wait for."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        if size > 2**20:
            report("send", done >> 10, size >> 10)


_OF_MODELS: dict[str, Task] = {"bundle": check_bundle, "fetch": fetch, "index": index, "install": install}


def tasks_of(server: Server) -> Mapping[str, Task]:
    """The tasks of a worker that has ``server`` do them; models that are added are this computer's."""
    names = ("hello", "warm", "reconstruct", "reconstruct_many", "simulate", "compare", "fixed", "preview")
    return {name: getattr(server, name) for name in names} | _OF_MODELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a worker that has a server do its work."""
    group = parser.add_argument_group("work of a server (with --folder)")
    group.add_argument("--server", metavar="URL", help="have the server at https://HOST:PORT do the work")
    group.add_argument("--ca-file", metavar="FILE", help="PEM of the authority that vouches for the server")


def server_of(options: argparse.Namespace) -> Server:
    """The server that the command line names.

    Raises:
        SettingsError: no address, no key, or an unencrypted connection that nobody allowed.
    """
    address = server_address(options.server)
    refuse_open(address, options.unencrypted, "use https, or allow it with --unencrypted in a network that you trust")
    context = client_context(options.ca_file) if address.encrypted else None
    return Server(address, read_key(options.key_file), context)
