"""What must be installed before the first reconstruction: torch (by the extension PyTorch) and safetensors.

Nothing is installed, downloaded or imported without a click. Whether something is there is found out without importing it.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    """What is there.

    Attributes:
        missing: names of missing Python packages; empty when all is ready.
        canInstallTorch: whether the extension PyTorch (PyTorchUtils) is there to install torch with.
        message: one or two sentences for the panel: what is missing, what to do.
        command: the exact command an administrator can run instead, also offline.
    """

    missing: tuple[str, ...]
    canInstallTorch: bool
    message: str
    command: str


class Dependencies:
    """Finds out what is missing and, on request, installs it."""

    log: list[str]

    def status(self) -> Status:
        """What is missing, without importing anything; milliseconds."""
        raise NotImplementedError

    def install(self, onFinished: Callable[[bool, str], None], onLog: Callable[[str], None] = print) -> None:
        """Install what is missing from the internet; torch through PyTorchUtils, which asks for consent itself.

        ``onFinished(ok, message)``.
        """

    def installFromFolder(
        self, folder: str, onFinished: Callable[[bool, str], None], onLog: Callable[[str], None] = print
    ) -> None:
        """Install from a folder of wheels without the internet, never replacing Slicer's own numpy, SimpleITK, requests."""

    def offlineCommand(self, folder: str = "WHEELS_FOLDER") -> str:
        """The exact command for the same by hand."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop a running installation."""
