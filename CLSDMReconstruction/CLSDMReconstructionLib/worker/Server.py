"""The computer that computes: this one, or a server. Of the machine, not of the scene, so that it is kept in the settings.

The key lies in a file of its own that other users cannot read, not in Slicer's settings, which people send with reports of
errors; the worker is given the file's name.
"""

import os
from pathlib import Path
from typing import Any

import qt
import slicer

from CLSDMReconstructionLib.worker.ModelStore import Model, modelOf

SETTINGS = "CLSDMReconstruction/server"


class Server:
    """The user's choice.

    Attributes:
        models: what the server offers, its default first; empty until it was reached.
    """

    def __init__(self) -> None:
        self.models: list[Model] = []

    @property
    def isUsed(self) -> bool:
        """Whether a server computes."""
        return self._value("used", "false") == "true"

    @property
    def address(self) -> str:
        """Such as https://host:8765."""
        return self._value("address")

    @property
    def caFile(self) -> str:
        """PEM of the authority that vouches for it; "" for those of the system."""
        return self._value("caFile")

    @property
    def isUnencryptedAllowed(self) -> bool:
        """Whether X-rays may travel in the clear."""
        return self._value("unencrypted", "false") == "true"

    @property
    def keyFile(self) -> Path:
        """The key's file."""
        beside = Path(slicer.app.slicerUserSettingsFilePath).parent / "CLSDM-server.key"
        return Path(self._value("keyFile") or beside)

    @property
    def hasKey(self) -> bool:
        """Whether a key was entered."""
        return self.keyFile.is_file()

    def choose(self, **values: Any) -> None:
        """Keep ``used``, ``address``, ``caFile`` or ``unencrypted``."""
        for name, value in values.items():
            qt.QSettings().setValue(f"{SETTINGS}/{name}", str(value).lower() if isinstance(value, bool) else str(value))
        self.models = []

    def enterKey(self, key: str) -> None:
        """Keep a key; an empty one is forgotten.

        Raises:
            OSError: it cannot be written.
        """
        self.keyFile.unlink(missing_ok=True)
        if key.strip():
            with os.fdopen(os.open(self.keyFile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key.strip() + "\n")
        self.models = []

    def options(self) -> list[str]:
        """The worker's options: none where this computer computes."""
        if not self.isUsed:
            return []
        options = ["--server", self.address, "--key-file", str(self.keyFile)]
        options += ["--ca-file", self.caFile] if self.caFile else []
        return options + (["--unencrypted"] if self.isUnencryptedAllowed else [])

    def hear(self, hello: dict[str, Any]) -> dict[str, Any]:
        """Learn from what the worker greets with, which is returned."""
        self.models = [
            modelOf(Path(each["name"]), {name: value for name, value in each.items() if name != "name"}, embedded=True)
            for each in hello.get("models", [])
        ]
        return hello

    @staticmethod
    def _value(name: str, default: str = "") -> str:
        value = qt.QSettings().value(f"{SETTINGS}/{name}")
        return default if value is None else str(value)
