"""Score a bundle the way a user meets it: scan file, ``clsdm project``, DICOM files, ``clsdm reconstruct``, volume file.

``cases`` finds the scans, ``exposures`` makes the X-ray files of each condition, ``measures.covered`` compares a volume with its
scan, ``page`` writes the tables and pictures, and ``score_bundle`` is the order in which that happens.
"""

from clsdm_bench.score.run import Settings, score_bundle

__all__ = ["Settings", "score_bundle"]
