"""Failures in words for the user: a sentence about what happened, one about what to do, and lighter work to offer."""

import tempfile

from CLSDMReconstructionLib.base.Appearance import sentence
from CLSDMReconstructionLib.worker.Runs import ReconstructionError

USE_CPU = ("Use the CPU", {"device": "cpu"})
COMPUTE_HERE = ("Compute on this computer", {"computer": "this"})
MAKE_MEAN = ("Make the mean", {"product": "mean"})

_SETTINGS = {
    "address": ("Address of the server: {}", "Correct the server's address under Advanced."),
    "unencrypted": (
        "{}",
        "Use an address with https, or tick “Allow unencrypted” under Advanced in a network that you trust.",
    ),
    "key": ("Key: {}", "Enter the server's key under Advanced again."),
    "authority": ("Own authority: {}", "Choose another file for “Own authority” under Advanced."),
}
"""What is said of each of ``clsdm.failures.SETTINGS``, by the panel's names, and what to do."""

_INPUT = {
    "model": ("{}", "The model is gone or damaged: choose another one, or add it again."),
    "offer": ("{}", "Choose another one: a model is a folder with bundle.json in it, or a zip archive of that."),
    "options": ("{}", "Change it under Advanced."),
    "device": ("There is no GPU that PyTorch can use.", "Choose Automatic or CPU."),
    "": ("{}", "Choose another file, or correct what was entered."),
}
"""The same of ``clsdm.failures.FIELDS``, and of what has none."""


def explain(
    kind: str, message: str, details: str = "", arguments: dict | None = None, field: str = ""
) -> ReconstructionError:
    """A failure of the worker (kinds of ``clsdm.failures.KINDS``, "crash" and "start") for the user.

    Args:
        kind: what it is about.
        message: the worker's.
        details: the worker's.
        arguments: "product" and "device" of the run, to offer lighter ones.
        field: what it is about: of the server or its settings, which one (``clsdm.failures.SETTINGS``); of an input, one
            of ``FIELDS``.
    """
    if field in _SETTINGS:
        name, todo = _SETTINGS[field]
        name = name if kind == "settings" else "{}"  # of the server: that begins its sentence
        return ReconstructionError(kind, sentence(name.format(message)), todo, details, (COMPUTE_HERE,))
    if kind == "input":
        what, todo = _INPUT.get(field, _INPUT[""])
        return ReconstructionError(kind, sentence(what.format(message)), todo, details)
    what, todo = _EXPLAINED.get(kind, _defect)(message, details)
    return ReconstructionError(kind, what, todo, details, _offers(kind, message, arguments or {}))


def cancelled(message: str = "Cancelled.") -> ReconstructionError:
    """The user, or the closing of the scene, ended it."""
    return ReconstructionError("cancelled", message)


def _offers(kind: str, message: str, arguments: dict) -> tuple[tuple[str, dict], ...]:
    offers = [COMPUTE_HERE] if kind in ("server", "settings") else []
    onGpu = arguments.get("device", "cpu") != "cpu"
    if onGpu and (kind in ("device", "crash") or (kind == "memory" and _ofGpu(message))):
        offers.append(USE_CPU)
    if kind in ("memory", "crash") and arguments.get("product", "mean") != "mean":
        offers.append(MAKE_MEAN)
    return tuple(offers)


def _ofGpu(message: str) -> bool:
    return any(name in message for name in ("CUDA", "CUBLAS", "cuDNN"))


def _memory(message: str, details: str) -> tuple[str, str]:
    if _ofGpu(message):
        return (
            "The GPU ran out of memory.",
            "Close other programs that use the GPU (a second Slicer, for example), use the CPU, or make the mean.",
        )
    return "The computer ran out of memory.", "Close other programs, or make the mean instead of samples."


def _device(message: str, details: str) -> tuple[str, str]:
    what = f"The GPU cannot be used ({message})."
    return what, "Use the CPU. To use the GPU, update its driver, or reinstall PyTorch with the module PyTorch Utils."


def _disk(message: str, details: str) -> tuple[str, str]:
    return (
        f"A file cannot be written ({message}).",
        f"The disk may be full or protected: make room in {tempfile.gettempdir()} and try again.",
    )


def _network(message: str, details: str) -> tuple[str, str]:
    return (
        f"The download failed ({message}).",
        "Check the connection or the proxy, or download it with a browser and add the file.",
    )


def _server(message: str, details: str) -> tuple[str, str]:
    return sentence(message), "Look at the server's address and key under Advanced, or compute on this computer."


def _missing(message: str, details: str) -> tuple[str, str]:
    name = "PyTorch" if "torch" in message else message
    return f"A Python package is missing ({name}).", "Install it in the section Dependencies."


def _crash(message: str, details: str) -> tuple[str, str]:
    return (
        f"The computation ended unexpectedly ({message}).",
        "Try again. If it happens again, the computer may be short of memory: close other programs, or choose less.",
    )


def _start(message: str, details: str) -> tuple[str, str]:
    last = (details.strip().splitlines() or [message])[-1]
    return (
        f"The computation could not be started ({last.strip()}).",
        "Install the Python packages again, or set CLSDM_PYTHON to a Python with PyTorch. The log says more.",
    )


def _defect(message: str, details: str) -> tuple[str, str]:
    return f"An unexpected error ({message}).", "Please report it, with the log."


_EXPLAINED = {
    "memory": _memory,
    "device": _device,
    "disk": _disk,
    "network": _network,
    "server": _server,
    "settings": _server,
    "missing": _missing,
    "crash": _crash,
    "start": _start,
}
