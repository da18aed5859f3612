"""Which key seals, and which open."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from service.sealing import Sealer, UnreadableSecret

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
OF_OLD, OF_BOTH, OF_NEW = (Sealer(keys).ring for keys in ([OLD], [NEW, OLD], [NEW]))


@pytest.mark.parametrize(
    ("alive", "key"),
    [
        ([], NEW),
        ([OF_BOTH, OF_NEW], NEW),
        ([OF_BOTH[::-1]], NEW),
        ([OF_BOTH, OF_OLD], OLD),
        ([OF_OLD, OF_NEW], OLD),
        ([OF_BOTH, ()], OLD),
    ],
    ids=["nobody", "all have it", "not in front", "one lacks it", "nothing in common", "one does not say"],
)
def test_what_is_sealed_can_be_opened_by_everybody_alive(alive, key):
    sealed = Sealer([NEW, OLD], lambda: alive).seal("text")
    assert Fernet(key).decrypt(sealed.encode()) == b"text"


def test_with_a_single_key_nobody_is_asked():
    def asked():
        raise AssertionError

    assert Sealer([NEW]).open(Sealer([NEW], asked).seal("text")) == "text"


def test_what_is_renewed_is_under_the_newest_key_and_stays_as_it_is_then():
    renewed = Sealer([NEW, OLD]).renewed(Sealer([OLD]).seal("text"))
    assert Sealer([NEW]).open(renewed) == "text"
    assert Sealer([NEW, OLD]).renewed(renewed) == renewed


def test_what_no_key_opens_is_refused_without_a_word_of_it():
    sealed = Sealer([OLD]).seal("text")
    for way in (Sealer([NEW]).open, Sealer([NEW]).renewed):
        with pytest.raises(UnreadableSecret) as refused:
            way(sealed)
        assert sealed not in str(refused.value)


def test_the_names_of_keys_are_the_same_everywhere_and_say_nothing_of_them():
    assert set(OF_BOTH) == {*OF_OLD, *OF_NEW}
    assert all(len(name) == 16 for name in OF_BOTH)
    assert not [name for name in OF_BOTH if name in NEW + OLD]
    assert repr(Sealer([NEW])) == "<Sealer>"
