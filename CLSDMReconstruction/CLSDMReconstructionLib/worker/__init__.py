"""The child process that reconstructs: its jobs, runs, results and faults, and the models that it can load.

Neighbours may use what is in ``__all__``; faults are explained inside ``RunKeeper``.
"""

__all__ = ["InferenceProcess", "ModelStore", "ModelTasks", "Requests", "Results", "RunKeeper", "Runs", "Server"]
