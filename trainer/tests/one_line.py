"""How a call is refused, as whoever made it gets to read it."""

from collections.abc import Callable

import pytest

from clsdm.errors import InputError


def refusal(call: Callable[..., object], *arguments: object, **more: object) -> str:
    """What an ``InputError`` of the call says, which is one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message
