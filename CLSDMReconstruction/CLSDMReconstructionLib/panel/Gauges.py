"""The gauges in "Advanced": memory, and while something is reconstructed the processors, of the computer that computes."""

import qt
import slicer
from slicer.i18n import tr as _

EVERY_MS = 1000


class Gauges:
    """Memory is the GPU's where one is used; a server's own is not known.

    Args:
        ui: the panel's widgets.
        server: the Server.
    """

    def __init__(self, ui, server) -> None:
        self.ui, self._server = ui, server
        self._gpu, self._mayUseGpu = {}, True
        for gauge in (ui.memoryGauge, ui.processorGauge):
            gauge.setRange(0, 100)
        self._timer = qt.QTimer()
        self._timer.setInterval(EVERY_MS)
        self._timer.connect("timeout()", self._showMemory)

    def setDevice(self, name: str, devices: list[dict]) -> None:
        """The device that will be used ("auto", "cpu" or "cuda"), of those that the worker described."""
        self._mayUseGpu = name != "cpu"
        gpus = [each for each in devices if each["name"] == "cuda" and each.get("total_bytes") and self._mayUseGpu]
        self._gpu = gpus[0] if gpus else {}
        self._showMemory()

    def watch(self, running: bool) -> None:
        """Something is reconstructed from now on, or no more."""
        if running:
            self._timer.start()
        else:
            self._timer.stop()
            self.ui.processorGauge.visible = False

    def show(self, load: dict[str, float]) -> None:
        """What the worker takes, as it says (``clsdm.app.load``); nothing changes where it has not said so yet."""
        if "processors" in load:
            where = _("Server's processors: {percent} %") if self._server.isUsed else _("Processors: {percent} %")
            percent = round(100 * load["processors"])
            self.ui.processorGauge.setValue(percent)
            self.ui.processorGauge.setFormat(where.format(percent=percent))
            self.ui.processorGauge.visible = True
        if "free_bytes" in load and load.get("total_bytes") and self._mayUseGpu:
            self._gpu = load
            self._showMemory()

    def _showMemory(self) -> None:
        self.ui.memoryGauge.visible = bool(self._gpu) or not self._server.isUsed
        if self._gpu:
            free, total = self._gpu["free_bytes"], self._gpu["total_bytes"]
            words = _("GPU: {used:.1f} of {total:.1f} GB")
        else:
            computer = slicer.vtkSystemInformation()
            computer.RunMemoryCheck()
            free, total = (
                2**20 * each for each in (computer.GetAvailablePhysicalMemory(), computer.GetTotalPhysicalMemory())
            )
            words = _("Memory: {used:.1f} of {total:.1f} GB")
        self.ui.memoryGauge.setValue(round(100 * (total - free) / max(1, total)))
        self.ui.memoryGauge.setFormat(words.format(used=(total - free) / 1e9, total=total / 1e9))
