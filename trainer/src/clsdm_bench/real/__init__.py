"""Models tried on real X-rays whose CT is known.

``localizers``: the scouts of a CT against the scan that was planned on them, in one coordinate system. ``pairs``:
radiographs that were taken another day, registered rigidly with the CT (``registration``). ``tables`` writes the figures.
"""
