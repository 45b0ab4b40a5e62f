"""The models a user can choose from: the embedded ones, and those in a folder of the user's outside the extension.

The extension's own folder is deleted on update, so nothing is ever put there. Only manifests are read here, in
milliseconds; checking hashes, copying and downloading is the worker's (``Logic.inspectModel``, ``Logic.addModel``).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CLSDMReconstructionLib.base.CorePath import ensureCore

FOLDER_SETTING = "CLSDMReconstruction/ModelFolder"
_CAMEL = {"default_product": "defaultProduct", "spacing_mm": "spacingMm"}


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
        voxels: edge of its cube.
        spacingMm: voxel edge.
        bytes: size of its files.
        sha256: of the weights, as the manifest has it.
        fileSha256: of the archive it was added from, where that was just computed; else "".
        embedded: comes with the extension and cannot be deleted; the first of them is the default.
    """

    path: Path
    id: str
    version: str
    licence: str
    notice: str
    anatomy: str
    defaultProduct: str
    steps: int
    voxels: int
    spacingMm: float
    bytes: int
    sha256: str
    fileSha256: str = ""
    embedded: bool = False

    @property
    def key(self) -> str:
        """Its identity, as a scene keeps it: two models may have one id, and two versions the same weights."""
        return "|".join((self.id, self.version, self.sha256[:16]))


def namesOf(models: list[Model]) -> list[str]:
    """A name for each: its id, with its version where others have that id, and the weights' hash where that does not tell."""
    names = [model.id for model in models]
    for more in ([model.version for model in models], [model.sha256[:8] for model in models]):
        names = [f"{name} {word}" if names.count(name) > 1 else name for name, word in zip(names, more, strict=True)]
    return names


def readModel(path: Path, **known: Any) -> Model:
    """Read a bundle's manifest; ``known`` overrides fields.

    Raises:
        ValueError: no bundle, or damaged.
    """
    ensureCore()
    from clsdm.errors import InputError
    from clsdm.model.facts import facts_of

    try:
        return modelOf(path, vars(facts_of(path)), **known)
    except InputError as error:
        raise ValueError(error.remark) from None


def modelOf(path: Path, facts: dict[str, Any], **known: Any) -> Model:
    """A model by its facts (``clsdm.model.facts.Facts``); ``known`` overrides fields."""
    return Model(**{"path": path, **{_CAMEL.get(name, name): value for name, value in facts.items()}, **known})


class ModelStore:
    """The folder of models.

    Attributes:
        folder: where added models lie; made when the first one is added.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = defaultFolder() if folder is None else Path(folder)

    def embedded(self) -> list[Model]:
        """The models that come with the extension, the default first; damaged ones are left out."""
        ensureCore()
        from clsdm.errors import InputError
        from clsdm.model.bundle_files import embedded_bundles

        try:
            found = [_tried(path, embedded=True)[0] for path in embedded_bundles().values()]
        except InputError:
            return []
        return [model for model in found if model is not None]

    def list(self) -> list[Model]:
        """The embedded models first, then the user's by name; damaged ones are left out (see :meth:`damaged`)."""
        own = [model for model, _ in self._read().values() if model is not None]
        return [*self.embedded(), *sorted(own, key=lambda model: (model.id, model.version))]

    def index(self, path: Path | None = None) -> dict[str, Any]:
        """The content of an index (``clsdm.model.index.Index``), by default the one that ships.

        Raises:
            ValueError: it is none.
        """
        ensureCore()
        from clsdm.errors import InputError
        from clsdm.files.strict_json import to_plain
        from clsdm.model.bundle_files import index_file, read_index

        file = path or index_file()
        try:
            return {"offers": [], "samples": {}} if file is None else to_plain(read_index(file))
        except InputError as error:
            raise ValueError(error.remark) from None

    def damaged(self) -> dict[str, str]:
        """Names of everything else in the folder, and why it is no model."""
        return {name: reason for name, (model, reason) in self._read().items() if model is None}

    def nameFor(self, model: Model) -> str:
        """The file name under which a model is kept."""
        return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{model.id}-{model.version}-{model.sha256[:8]}").strip("._")

    def delete(self, model: Model) -> None:
        """Remove a model of the user's from disk.

        Raises:
            ValueError: an embedded one, one that lies elsewhere, or one that does not say which files are its own.
            OSError: it cannot be removed.
        """
        if model.embedded or model.path.parent != self.folder:
            raise ValueError(f"{model.id} came with the extension or lies elsewhere; only added models can be deleted")
        ensureCore()
        from clsdm.errors import InputError
        from clsdm.model.bundle_files import remove_bundle

        try:
            remove_bundle(model.path)
        except InputError as error:
            raise ValueError(error.remark) from None

    def openFolder(self) -> None:
        """Show the folder in the system's file manager."""
        import qt

        self.folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.folder)))

    def _read(self) -> dict[str, tuple[Model | None, str]]:
        found: dict[str, tuple[Model | None, str]] = {}
        if self.folder.is_dir():
            for path in sorted(self.folder.iterdir()):
                if not path.name.startswith("."):  # a copy that is under way
                    found[path.name] = _tried(path)
        return found


def _tried(path: Path, **known: Any) -> tuple[Model | None, str]:
    try:
        return readModel(path, **known), ""
    except ValueError as error:
        return None, str(error)


def defaultFolder() -> Path:
    """The folder the user chose, else one beside Slicer's settings."""
    import qt
    import slicer

    chosen = qt.QSettings().value(FOLDER_SETTING)
    return Path(chosen) if chosen else Path(slicer.app.slicerUserSettingsFilePath).parent / "CLSDM-Models"
