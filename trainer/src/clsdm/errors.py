"""Errors a user can act on.

Everything that is wrong with what a user handed in is an :class:`InputError` with a message of one line that names the
file, tag or field, what was found and what was expected. The command line prints that line and exits with code 2.
"""


class InputError(Exception):
    """The input cannot be used; the message says which part, what was found and what was expected."""


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user cancelled a long computation."""
