"""The networks, the process that draws latents (schedule, noise, denoiser, sampler), and the bundle of a trained model.
Neighbours may use what is in ``__all__``; ``bundle_files``, ``facts`` and ``index`` need no torch.
"""

__all__ = ["blocks", "bundle", "bundle_files", "clsdm", "condition", "consistency", "facts", "index", "noise"]
