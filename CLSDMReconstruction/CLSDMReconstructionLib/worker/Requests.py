"""X-rays as the worker's requests name them, checked before anything is sent; what the log says hides their files."""

from pathlib import Path
from typing import Any

from CLSDMReconstructionLib.scene import XRayNodes, XRaySources
from CLSDMReconstructionLib.worker.Runs import ReconstructionError, Run
from CLSDMReconstructionLib.xrays.Facts import XRayFacts, checkTogether, inspect
from CLSDMReconstructionLib.xrays.Inputs import XRayInput, viewName


def inputsOf(frontal, lateral, views=()) -> list[XRayInput]:
    """The X-rays that are there; each a volume node, a file or an ``XRayInput``."""
    known = ((frontal, "frontal"), (lateral, "lateral"), *((view, "view") for view in views))
    return [XRayInput.of(source, role) for source, role in known if source is not None]


def fileRequest(xray: XRayInput) -> dict[str, Any]:
    """The request for one X-ray, if it is a file."""
    if xray.path is None:
        raise ReconstructionError("input", "Many studies are reconstructed from files; these X-rays are volumes.")
    return xray.toViewRequest(Path(xray.path))


def checked(inputs: list[XRayInput], preset: str) -> list[XRayFacts]:
    """The facts of all X-rays.

    Raises:
        ReconstructionError: one cannot be used, or they do not go together.
    """
    facts = [inspect(xray, preset) for xray in inputs]
    for xray, each in zip(inputs, facts, strict=True):
        if each.problem:
            label = "" if xray.label.lower() in each.problem.lower() else f"{xray.label[:1].upper()}{xray.label[1:]}: "
            advice = "" if each.missing else "Choose another file, or correct what was entered."
            raise ReconstructionError("input", label + each.problem, advice)
    problem = checkTogether(facts)[0]
    if problem:
        raise ReconstructionError("input", problem)
    return facts


def summary(xray: XRayInput, facts: XRayFacts) -> str:
    """A line for the log: what is used and where it is from."""
    fields = facts.fields
    rows, columns = fields["spacingMm"].value
    known = (
        (viewName(fields["angleDeg"].value), "angleDeg"),
        (f"pixels of {columns:.4g} x {rows:.4g} mm", "spacingMm"),
        (f"detector {fields['sourceDetectorMm'].value:g} mm from the source", "sourceDetectorMm"),
        (f"patient {fields['sourceAxisMm'].value:g} mm from it", "sourceAxisMm"),
    )
    said = ", ".join(f"{text} ({fields[name].origin})" for text, name in known)
    return f"{xray.label}: {facts.header.cols} x {facts.header.rows} pixels, {said}"


def viewRequests(run: Run, inputs: list[XRayInput], folder: Path) -> list[dict[str, Any]]:
    """The requests for X-rays; nodes without files of their own are written to the folder."""
    return [viewRequest(run, xray, folder / f"xray{at}.nrrd") for at, xray in enumerate(inputs)]


def noted(inputs: list[XRayInput], requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What identifies the X-rays of :func:`viewRequests`, for the reconstruction's node."""
    return [
        XRaySources.noted(Path(request["file"]) if _hasFile(xray) else None, xray.node)
        for xray, request in zip(inputs, requests, strict=True)
    ]


def _hasFile(xray: XRayInput) -> bool:
    return xray.path is not None or XRayNodes.xrayFile(xray.node) is not None


def viewRequest(run: Run, xray: XRayInput, written: Path) -> dict[str, Any]:
    """The request for one X-ray; a node without a file of its own is written to ``written``."""
    if xray.path is not None:
        file = Path(xray.path)
    else:
        file = XRayNodes.xrayFile(xray.node) or written
        if file is written:
            XRayNodes.writeXRay(xray.node, written)
    for text in (str(file), file.as_posix(), file.name):
        run.hide(text, xray.label)
    run.hide(str(file.parent), "its folder")
    return xray.toViewRequest(file)
