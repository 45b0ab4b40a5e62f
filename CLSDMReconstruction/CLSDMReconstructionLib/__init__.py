"""The library of the module CLS-DM Reconstruction.

Importing it does nothing; ``CorePath.ensureCore()`` makes the package ``clsdm`` importable where it is first needed.
"""
