"""The systems ours is compared with, written anew from docs/method.md, 5 (no code of theirs was used).

``x2ct`` and ``inrr`` are networks from X-rays to voxels, trained by ``stages.BaselineStage``; the latent diffusion model
without alignment is ``stages.JointStage``; ``classical`` needs no training. ``reconstructors`` puts all of them, and ours,
behind the one interface: ``reconstruct(xrays) -> CTVolume``.
"""
