"""CLS-DM: reconstruct a CT volume from a few X-rays by latent diffusion aligned between the two modalities.

Research only; not a medical device. Start reading at :mod:`clsdm.reconstruct`.
"""

__version__ = "0.1.0"
