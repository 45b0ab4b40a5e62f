"""A reconstruction against the true CT: difference, layout, figures, line profile, and the panel that shows them.

Neighbours may use the panel alone.
"""

__all__ = ["ComparePanel"]
