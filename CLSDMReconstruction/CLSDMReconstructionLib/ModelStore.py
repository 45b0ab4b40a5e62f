"""The models a user can choose from: the embedded one, and those in a folder of the user's outside the extension.

The extension's own folder is deleted on update, so nothing is ever put there. Pure Python and fast: only manifests are
read here. Checking hashes and downloading is the worker's (``Logic.inspectModel``, ``Logic.addModel``).
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """A model as its manifest describes it.

    Attributes:
        path: folder or archive, as ``reconstruct(bundle=...)`` takes it.
        id: its name.
        version: its version.
        licence: of the weights.
        notice: what it must not be used for.
        anatomy: what it was trained on, in words.
        defaultProduct: "mean", "sample" or "ensemble".
        steps: denoiser evaluations per sample by default.
        bytes: size on disk.
        sha256: of the weights, as the manifest has it.
        embedded: comes with the extension and cannot be deleted.
    """

    path: Path
    id: str
    version: str
    licence: str
    notice: str
    anatomy: str
    defaultProduct: str
    steps: int
    bytes: int
    sha256: str
    embedded: bool = False


class ModelStore:
    """The folder of models.

    Attributes:
        folder: where added models lie; made when the first one is added.
    """

    def __init__(self, folder: Path | None = None) -> None:
        raise NotImplementedError

    def list(self) -> list[Model]:
        """The embedded model first, then the user's by name; damaged ones are left out (see :meth:`damaged`)."""
        raise NotImplementedError

    def damaged(self) -> dict[str, str]:
        """What else lies in the folder and why it is no model."""
        raise NotImplementedError

    def delete(self, model: Model) -> None:
        """Remove a model of the user's from disk.

        Raises:
            ValueError: the embedded one, or one that lies elsewhere.
            OSError: it cannot be removed.
        """

    def openFolder(self) -> None:
        """Show the folder in the system's file manager."""
