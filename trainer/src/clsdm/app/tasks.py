"""The tasks of the worker. Each gets a folder of its own for arrays, ``report`` for progress, and the
request's other fields by name; it returns plain JSON types. A path in an answer is a .npy file in that folder.

torch is imported by the tasks that need it, so that the worker greets, and looks at bundles, without it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsdm import __version__
from clsdm.app.answers import pack_reconstruction, placed, saved
from clsdm.app.bundle_tasks import check_bundle, fetch, index, install
from clsdm.app.warm import WARM
from clsdm.app.worker import Answer, Task, Voice
from clsdm.progress import Report

if TYPE_CHECKING:
    from clsdm.xray.image import XRay

BLOCK_BYTES = 1 << 20
PREVIEW_RANGE = 1.5
"""``xray.normalise`` limits intensities to plus and minus this."""


def hello(folder: Path, report: Report) -> Answer:
    """Load torch. Answers with versions and devices: name, label, free_bytes, total_bytes (0 where unknown)."""
    report("start", 0, 1)
    import torch

    devices = [{"name": "cpu", "label": f"CPU ({os.cpu_count()} cores)", "free_bytes": 0, "total_bytes": 0}]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        label = torch.cuda.get_device_name()
        devices.append({"name": "cuda", "label": label, "free_bytes": free, "total_bytes": total})
    report("start", 1, 1)
    return {"clsdm": __version__, "torch": torch.__version__, "python": sys.version.split()[0], "devices": devices}


def warm(folder: Path, report: Report, bundle: str | None = None, device: str = "auto") -> Answer:
    """Load a model, so that the next reconstruction need not."""
    from clsdm.reconstruction import choose_device

    WARM.model(WARM.bundle(bundle), choose_device(device), report)
    return {}


def reconstruct(
    folder: Path,
    report: Report,
    views: list[dict[str, Any]],
    options: dict[str, Any],
    bundle: str | None = None,
    preset: str = "chest",
    sent: str | None = None,
) -> Answer:
    """Reconstruct. ``views``, ``options`` and the rest are those of ``clsdm.app.request.Request``; with ``sent``, the folder
    of what a client sent, ``views`` are those of ``clsdm.app.sent``.

    Answers with volumes (array int16 (z, y, x), spacing_mm, origin_mm, direction; see ``answers``) under "volume",
    "coverage" and, for an ensemble, "spread"; "views", "residuals", "warnings", "measures" and "provenance" as in ``R.json``;
    "hanging" as ``clsdm.hanging.Hanging.to_plain``, or None;
    "reprojections": angle_deg, "view" on the virtual detector, and "input", "reprojected" and "difference" arrays on it, NaN
    where not measured; "seconds" of the core.

    Raises:
        MemoryError: not enough memory; everything that was held is let go before.
    """
    report("read X-rays", 0, len(views))
    from clsdm import reconstruction as core
    from clsdm.files.strict_json import from_plain

    began = time.perf_counter()
    how = from_plain(core.Options, options, "request.options")
    opened = WARM.bundle(bundle)
    xrays = _xrays(views, preset, sent)
    report("read X-rays", len(views), len(views))
    try:
        model = WARM.model(opened, core.choose_device(how.device), report)
        result = core.reconstruct(xrays, opened, how, report, model)
    except (RuntimeError, MemoryError):  # memory, mostly; a lighter attempt must find all of it free
        WARM.forget()
        raise
    seconds = time.perf_counter() - began
    seen = [opened.manifest.model.detector.view(view) for view in result.views]
    return pack_reconstruction(folder, result, seen) | {"seconds": seconds}


def reconstruct_many(
    folder: Path,
    report: Voice,
    cases: dict[str, Any],
    options: dict[str, Any],
    out: str,
    bundle: str | None = None,
    preset: str = "chest",
) -> Answer:
    """Reconstruct many patients into the folder ``out``, as ``clsdm reconstruct --table`` does; what is there stays.

    ``cases`` has the views of each by its name. Each that has ended is reported ("told"): its row of the summary, with "status"
    done, kept or failed. Answers with the counts, seconds and "files" of ``clsdm.app.batch.run``.
    """
    report("patients", 0, len(cases))
    from clsdm.app.batch_task import many
    from clsdm.app.maker import this_computer

    shared = {"options": options, "bundle": bundle, "preset": preset}
    return many(cases, shared, out, this_computer(WARM.bundle(bundle)), report)


def simulate(
    folder: Path, report: Report, ct: str, out: str, preset: str = "chest", angles: tuple[float, ...] = (0.0, 90.0)
) -> Answer:
    """X-rays of the CT file ``ct`` as DICOM DX in the folder ``out``.

    Answers with "files" and, for each, under "images": "image" (array, brighter where more was attenuated), "view" and
    "isocentre_mm".
    """
    report("project", 0, len(angles))
    from clsdm.simulate import project_to_folder
    from clsdm.xray.read import read_xray

    files = project_to_folder(ct, preset, out, angles, on_view=lambda done, total: report("project", done, total))
    xrays = [read_xray(file) for file in files]
    images = [
        {
            "image": saved(folder, f"image{at}", xray.image),
            "view": xray.view.to_plain(),
            "isocentre_mm": xray.isocentre_mm and list(xray.isocentre_mm),
        }
        for at, xray in enumerate(xrays)
    ]
    return {"files": [str(file) for file in files], "images": images}


def compare(folder: Path, report: Report, reconstruction: str, truth: str) -> Answer:
    """Score a reconstruction against the true CT, both volume files; answers with ``clsdm.quality.compare.as_json``."""
    report("read", 0, 2)
    from clsdm.quality.compare import compare as core
    from clsdm.quality.write import as_json
    from clsdm.volume.read import read_ct

    made, true = read_ct(reconstruction), read_ct(truth)
    report("compare", 0, 1)
    return as_json(core(made, true))


def fixed(folder: Path, report: Report, reconstruction: str, views: list[dict[str, Any]]) -> Answer:
    """The part of a reconstruction (volume file) that its X-rays do not fix; ``views`` are those of its provenance.

    Answers with "others", a volume of how much of each voxel's HU came from other patients, whatever its sign; "share" of the
    contrast that the X-rays fix; and "legend", of that volume.
    """
    report("fixed", 0, 1)
    from clsdm.app.fixed import LAYER_LEGEND, fixed_part, from_others
    from clsdm.app.record import recorded_views
    from clsdm.volume.read import read_ct

    made = read_ct(reconstruction)
    part, share = fixed_part(made, recorded_views({"provenance": {"views": views}}, "reconstruction"))
    others = from_others(made, part)
    report("fixed", 1, 1)
    others = replace(others, hu=np.abs(others.hu))
    return {"others": placed(folder, "others", others), "share": share, "legend": LAYER_LEGEND.format(share=share)}


def preview(
    folder: Path,
    report: Report,
    view: dict[str, Any],
    bundle: str | None = None,
    preset: str = "chest",
    sent: str | None = None,
) -> Answer:
    """An X-ray on the model's virtual detector.

    Answers with arrays "image" (uint8, the whole range of intensities the network can see) and "mask" (bool), with
    "view" (on the virtual detector), "origins" and "warnings".
    """
    report("read X-rays", 0, 1)
    from clsdm.xray.preprocess import preprocess

    (xray,) = _xrays([view], preset, sent)
    detector = WARM.bundle(bundle).manifest.model.detector
    (intensity, mask), seen = preprocess(xray, detector)
    image = ((intensity / PREVIEW_RANGE + 1.0) * 127.5).round().clamp(0.0, 255.0).byte()
    return {
        "image": saved(folder, "image", image.numpy()),
        "mask": saved(folder, "mask", mask.numpy() > 0.5),
        "view": seen.to_plain(),
        "origins": xray.origins,
        "warnings": list(xray.warnings),
    }


def _xrays(views: list[dict[str, Any]], preset: str, sent: str | None) -> list[XRay]:
    """The X-rays of a request: of files, or as they were sent.

    Raises:
        InputError: one of them cannot be used.
    """
    from clsdm.app.request import xrays_of
    from clsdm.app.sent import unpack_xray

    if sent is not None:
        return [unpack_xray(view, Path(sent), f"request.views[{at}]") for at, view in enumerate(views)]
    return xrays_of(views, preset)


TASKS: dict[str, Task] = {
    "hello": hello,
    "warm": warm,
    "reconstruct": reconstruct,
    "reconstruct_many": reconstruct_many,
    "simulate": simulate,
    "compare": compare,
    "fixed": fixed,
    "preview": preview,
    "bundle": check_bundle,
    "fetch": fetch,
    "index": index,
    "install": install,
}
