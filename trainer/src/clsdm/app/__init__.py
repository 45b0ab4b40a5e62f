"""The entries for other programs: the command line, request files and the worker that keeps a model loaded.
Neighbours may use what is in ``__all__``; what is computed stands in the other rooms.
"""

__all__ = ["batch_summary", "cli", "fixed", "library", "record", "request", "tasks", "worker"]
