"""Long work in small steps between which the event loop turns, so that the window answers and the work can be stopped."""

import threading
from collections.abc import Callable, Iterator

import qt
import slicer

TURN_S = 0.01


def later(milliseconds: int, function: Callable[[], None]) -> None:
    """Call a function once, after this time. Slicer's own ``qt.QTimer.singleShot`` never lets go of what it called."""
    timer = qt.QTimer(slicer.app.moduleManager())  # which goes before Python does
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: (timer.deleteLater(), function()))
    timer.start(milliseconds)


class Steps:
    """Runs a generator of fractions done, one step for each turn of the event loop, on the main thread.

    Args:
        work: yields the fraction that is done; what it returns is the result.
        onProgress: called with each fraction.
        onFinished: called with the result.
        onError: called with the exception that ended the work; by default it is raised.
    """

    def __init__(
        self,
        work: Iterator[float],
        onFinished: Callable[[object], None] = lambda result: None,
        onError: Callable[[Exception], None] | None = None,
        onProgress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        self._work, self._onFinished, self._onError, self._onProgress = work, onFinished, onError, onProgress
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._step)
        self._timer.start()

    @property
    def isRunning(self) -> bool:
        """Whether there is work left."""
        return self._work is not None

    def cancel(self) -> None:
        """Stop; nothing is called any more."""
        self._end()

    def _step(self) -> None:
        if self._work is None:
            return
        try:
            fraction = next(self._work)
        except StopIteration as done:
            self._end()
            self._onFinished(done.value)
        except Exception as error:
            self._end()
            if self._onError is None:
                raise
            self._onError(error)
        else:
            self._onProgress(fraction)

    def _end(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            self._timer.stop()
            self._timer.deleteLater()  # with its connection, which holds this object as it holds the timer
            work.close()


def atOnce(work: Iterator[float]) -> object:
    """Do all steps of some work now, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def turn() -> Iterator[float]:
    """One turn of the event loop."""
    yield 1.0


def aside(work: Callable[[], object]) -> Iterator[float]:
    """Steps of one call that cannot be cut: it is done in a thread, and must touch neither Qt nor MRML.

    The generator returns or raises what the call does. Closed before, it waits for the call, which should not be long.
    PythonQt may hold Python's lock while the event loop turns, so each step waits for the thread, and lets it go on.
    """
    outcome: list = []
    thread = threading.Thread(target=lambda: outcome.append(_outcome(work)))
    thread.start()
    try:
        while thread.is_alive():
            thread.join(TURN_S)
            yield 0.0
    finally:
        thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _outcome(work: Callable[[], object]) -> tuple[object, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for it
        return None, error
