"""Canonical identifiers, and tokens that say nothing about them."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InvalidArgument
from isthmus.subjects import SubjectTokens, normalise, normaliser, subject_commitment

KEYS = {1: b"a" * 32, 2: b"b" * 32}


def test_the_gi_bill_form_in_literal_quotes_becomes_the_plain_number() -> None:
    assert normalise('"00247700"', ["strip-quotes", "pad:8"]) == "00247700"
    assert normalise(" 247700 ", ["strip-quotes", "pad:8"]) == "00247700"


def test_a_full_width_identity_number_becomes_the_ascii_one() -> None:
    assert normalise("１１０１０１", ["nfkc"]) == "110101"


@pytest.mark.parametrize("marker", ["", "   ", "NONE", "none", '"NONE"', "NULL"])
def test_a_marker_of_absence_is_no_identifier(marker: str) -> None:
    with pytest.raises(InvalidArgument, match="holds no identifier"):
        normalise(marker, ["strip-quotes", "pad:8"])


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "x" * 257, "\ud800"])
def test_control_characters_and_overlong_identifiers_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        normalise(text, [])
    assert text not in caught.value.message


def test_an_unknown_normaliser_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'trim' is no normaliser; there are strip"):
        normaliser("trim")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    names = ["strip-quotes", "nfkc", "upper", "remove-dashes"]
    try:
        once = normalise(text, names)
    except InvalidArgument:
        return
    assert normalise(normalise(once, names), names) == normalise(once, names)


def test_a_token_is_the_keyed_digest_of_scheme_and_identifier() -> None:
    expected = hmac.new(KEYS[2], b"us.ope\x0000247700", hashlib.sha256).hexdigest()[:32]
    assert SubjectTokens(KEYS, 2).token("us.ope", "00247700") == f"2.{expected}"


def test_tokens_differ_by_epoch_scheme_and_identifier() -> None:
    tokens = SubjectTokens(KEYS, 2)
    made = {
        tokens.token("us.ope", "1"),
        tokens.token("us.ope", "2"),
        tokens.token("us.ipeds", "1"),
        tokens.token("us.ope", "1", epoch=1),
    }
    assert len(made) == 4
    assert tokens.all_tokens("us.ope", "1") == (
        tokens.token("us.ope", "1", epoch=1),
        tokens.token("us.ope", "1"),
    )


def test_weak_or_missing_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="current epoch"):
        SubjectTokens({1: b"a" * 32}, 2)
    with pytest.raises(ValueError, match="32 bytes"):
        SubjectTokens({1: b"short"}, 1)


def test_a_commitment_binds_scheme_and_identifier_apart() -> None:
    nonce = bytes(32)
    assert subject_commitment(nonce, "a", "bc") != subject_commitment(nonce, "ab", "c")
    with pytest.raises(InvalidArgument, match="32 random bytes"):
        subject_commitment(b"", "a", "b")


def test_a_commitment_s_nonce_needs_both_the_salt_and_the_key() -> None:
    made = {
        SubjectTokens({1: key}, 1).nonce(salt)
        for key in KEYS.values()
        for salt in (b"request" * 5, b"response" * 5)
    }
    assert len(made) == 4
    assert all(len(nonce) == 32 for nonce in made)
