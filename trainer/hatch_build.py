"""Puts the models that come with the project, ``Resources/Models`` beside ``trainer``, into wheels and source archives.

There is one copy of it in the repository. A source archive holds it where a wheel does, in the package, so that a wheel
made of the archive has it as well; an editable installation finds the repository's own.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSIDE = "clsdm/Resources/Models"
"""Where ``clsdm.model.bundle_files.embedded_bundles`` looks."""


class ModelHook(BuildHookInterface):
    """Called by hatchling for each target."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the models to what is built.

        Raises:
            FileNotFoundError: there is none, neither beside this folder nor, in an unpacked archive, inside it.
        """
        sources, models = Path(self.root) / "src", Path(self.root).parent / "Resources" / "Models"
        if version == "editable" or (sources / INSIDE).is_dir():
            return
        if not models.is_dir():
            raise FileNotFoundError(f"{models}: the models that belong into the package are not there")
        build_data["force_include"][str(models)] = f"src/{INSIDE}" if self.target_name == "sdist" else INSIDE
