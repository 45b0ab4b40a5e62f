"""A reconstruction against the true CT: difference, layout, figures, line profile, and the panel that shows them.

Neighbours may use the panel, and the layout to know which views are its own.
"""

__all__ = ["ComparePanel", "ComparisonLayout"]
