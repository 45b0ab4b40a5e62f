"""The X-rays that go in: what file and user say about them, the panel's slots, and X-rays simulated from a CT.

Neighbours may use what is in ``__all__``; the other modules are parts of the sections.
"""

__all__ = ["Facts", "Inputs", "PairFinder", "SampleMenu", "SimulatePanel", "Simulation", "Studies", "XRaysSection"]
