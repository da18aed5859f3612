"""A body that is longer than it may be, whatever was announced."""

from __future__ import annotations

from io import BytesIO

from service.archive.download import BLOCK, _Body


def test_a_body_is_given_up_at_the_byte_that_is_too_much_and_not_a_block_later():
    body = _Body(BytesIO(), 10, memoryview(bytearray(BLOCK)))
    assert BLOCK > 10
    assert body.write(b"0123456789") is None
    assert body.write(b"x") == -1
    assert body.size == 11
