"""The systems ours is compared with, written anew from their descriptions (no code of theirs was used).

``x2ct`` and ``inrr`` are networks from X-rays to voxels, trained by ``stages.BaselineStage``; the latent diffusion model
without alignment is ``stages.JointStage``; ``classical`` needs no training. ``voxels`` and ``classical`` are methods:
X-rays in, a ``CTVolume`` out; ``ours`` and the LDM go through ``clsdm.reconstruction`` like any user's bundle.
"""
