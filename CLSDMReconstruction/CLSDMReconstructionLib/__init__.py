"""The library of the module CLS-DM Reconstruction: ``Logic``, which works without a GUI, on a room for each subject.

Importing it does nothing; ``base.CorePath.ensureCore()`` makes the package ``clsdm`` importable where it is first needed.
Testing/test_module_rooms.py holds which room may use which.
"""
