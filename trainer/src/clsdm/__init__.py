"""CLS-DM: reconstruct a CT volume from a few X-rays by latent diffusion aligned between the two modalities.

Research only; not a medical device. Start reading at :mod:`clsdm.reconstruction`.
"""

__version__ = "0.1.0"

NOTICE = "Research only. Not a medical device; not for diagnosis or treatment."
"""On everything that is made: bundles, volumes, records, pictures, reports."""
