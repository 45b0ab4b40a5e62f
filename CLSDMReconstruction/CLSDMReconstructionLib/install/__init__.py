"""The Python packages that Slicer lacks: which are missing, and how they are installed on a click.

Neighbours may use what is in ``__all__``; ``Installer`` runs as a script in a process of its own.
"""

__all__ = ["Dependencies", "DependenciesSection"]
