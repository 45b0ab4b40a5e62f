"""The expected time of a reconstruction, from the last ones with that model on this machine, else from its voxels."""

import qt

SETTINGS = "CLSDMReconstruction/seconds"
CARD_SECONDS = {"mean": (0.5, 0.9), "step": (0.25, 0.0)}
"""On two CPU cores, with the embedded models: the mean, and one denoising step of one sample; and more per million voxels."""


class Timing:
    """Remembers seconds per model and device: of the mean, and of one denoising step."""

    def expected(self, model, product: str, steps: int, samples: int, device: str) -> tuple[float, bool]:
        """(seconds, whether it was measured on this machine)."""
        mean, measured = _known(model, device, "mean")
        if product == "mean":
            return mean, measured
        step, stepMeasured = _known(model, device, "step")
        return mean + step * steps * (samples if product == "ensemble" else 1), stepMeasured

    def remember(self, model, product: str, steps: int, samples: int, device: str, seconds: float) -> None:
        """A reconstruction took so long."""
        what = "mean"
        if product != "mean":
            count = max(1, steps * (samples if product == "ensemble" else 1))
            what, seconds = "step", max(0.0, seconds - _known(model, device, "mean")[0]) / count
        qt.QSettings().setValue(_key(model, device, what), float(seconds))


def _known(model, device: str, what: str) -> tuple[float, bool]:
    value, (least, more) = qt.QSettings().value(_key(model, device, what)), CARD_SECONDS[what]
    return (least + more * model.voxels**3 / 1e6, False) if value is None else (float(value), True)


def _key(model, device: str, what: str) -> str:
    return f"{SETTINGS}/{model.sha256[:16]}/{device}/{what}"


def inWords(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 1.5:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
