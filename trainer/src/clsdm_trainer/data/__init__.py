"""From scans as they are published to the canonical store that every training stage reads.

``readers`` (with ``dicom``) find and read scans, ``source`` names a data set, ``splits`` say which patient belongs
where, ``cube`` places and resamples, ``prepare`` does it for all, ``store`` is the result. Nothing else in the trainer
knows a file format of CT.
"""
