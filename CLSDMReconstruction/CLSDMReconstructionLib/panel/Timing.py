"""The expected time of a reconstruction, from the last ones on this machine, else from the card of the embedded model."""

import qt

SETTINGS = "CLSDMReconstruction/seconds"
CARD_SECONDS = {"mean": 0.7, "step": 0.25}
"""On two CPU cores, with the embedded model (README): the mean, and one denoising step of one sample."""


class Timing:
    """Remembers seconds per device: of the mean, and of one denoising step."""

    def expected(self, product: str, steps: int, samples: int, device: str) -> tuple[float, bool]:
        """(seconds, whether it was measured on this machine)."""
        mean, measured = self._known(device, "mean")
        if product == "mean":
            return mean, measured
        step, stepMeasured = self._known(device, "step")
        return mean + step * steps * (samples if product == "ensemble" else 1), stepMeasured

    def remember(self, product: str, steps: int, samples: int, device: str, seconds: float) -> None:
        """A reconstruction took so long."""
        if product == "mean":
            self._keep(device, "mean", seconds)
        else:
            count = max(1, steps * (samples if product == "ensemble" else 1))
            self._keep(device, "step", max(0.0, seconds - self._known(device, "mean")[0]) / count)

    @staticmethod
    def _known(device: str, what: str) -> tuple[float, bool]:
        value = qt.QSettings().value(f"{SETTINGS}/{device}/{what}")
        return (CARD_SECONDS[what], False) if value is None else (float(value), True)

    @staticmethod
    def _keep(device: str, what: str, seconds: float) -> None:
        qt.QSettings().setValue(f"{SETTINGS}/{device}/{what}", float(seconds))


def inWords(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 1.5:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
