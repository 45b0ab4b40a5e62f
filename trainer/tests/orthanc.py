"""A real PACS for tests: Debian's Orthanc on this machine alone, with a user, and studies of somebody in it."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from clsdm.pacs.client import PASSWORD, USER, Pacs

requests = pytest.importorskip("requests", reason="needs dicomweb-client, of the extra pacs")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ALICE = {USER: "alice", PASSWORD: "SECRET-word"}
MISSING = (
    ""
    if shutil.which("Orthanc") and PLUGIN.exists()
    else "needs the program Orthanc with its DICOMweb plug-in: apt-get install orthanc orthanc-dicomweb"
)
NEEDED = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@dataclass(frozen=True)
class Server:
    """A running Orthanc."""

    url: str
    process: subprocess.Popen[bytes]

    def names(self, what: str, **wanted: str) -> list[dict[str, object]]:
        """Studies, series or instances, as its own interface tells them."""
        query = {"Level": what, "Query": wanted, "Expand": True}
        address = self.url.replace("/dicom-web", "/tools/find")
        return requests.post(address, json=query, auth=tuple(ALICE.values()), timeout=10).json()


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Server]:
    """Started on a free port of this machine alone; ended and gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": port,
        "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
        "RegisteredUsers": {ALICE[USER]: ALICE[PASSWORD]}, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "StableAge": 1,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield Server(f"http://localhost:{port}/dicom-web", process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def put_study(films: Path, server: Server, names: tuple[str, ...] = ("frontal", "lateral"), **tags: str) -> str:
    """Store a new study of somebody's films, whose credentials are in the environment; returns its UID."""
    uid, sets = generate_uid(), []
    for name in names:
        dataset = pydicom.dcmread(films / f"{name}.dcm")
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid, generate_uid()
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientID, dataset.PatientName, dataset.IssuerOfPatientID = "SECRET-4711", "Doe^SECRET", ""
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        sets.append(dataset)
    Pacs(server.url).store(uid, sets)
    return uid
