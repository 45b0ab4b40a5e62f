"""Where source, detector and voxels are: views, cameras, the projector and the lift, in LPS millimetres around the isocentre.
Neighbours may use what is in ``__all__``; ``view`` and ``directions`` need no torch.
"""

__all__ = ["cameras", "directions", "lift", "move", "projector", "view"]
