"""The module's widget: its sections, the parameter node behind them, and what happens when the scene closes.

The module itself uses ``Widget``; no other room uses this one.
"""

__all__ = ["Widget"]
