"""Customers become contacts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sealwax.errors import ConfigurationError
from sealwax.settings import Settings
from tasks.customers import (
    Customer,
    CustomerSettings,
    CustomerSync,
    normalise,
    normalise_email,
    normalise_name,
    normalise_phone,
    normalise_postcode,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("  José ", "José"),
        ("Jose\u0301", "José"),
        ("María  José", "María José"),
        ("ŠIMEK", "Šimek"),
        ("anna", "Anna"),
        ("O'NEIL-SMITH", "O'Neil-Smith"),
        ("van der berg", "van der Berg"),
        ("van", "Van"),
        ("McDonald", "McDonald"),
        ("d'Angelo", "d'Angelo"),
        ("李", "李"),
        ("a\tb\u2028c", "A B C"),
        (" \n ", None),
    ],
)
def test_names(name, expected):
    assert normalise_name(name) == expected


@given(st.text(max_size=60))
def test_names_are_stable_once_normalised(name):
    once = normalise_name(name)
    assert once is None or once == " ".join(once.split())


@pytest.mark.parametrize(
    ("phone", "country", "expected"),
    [
        ("030 23125 012", "DE", "+493023125012"),
        ("(202) 555-0123", "US", "+12025550123"),
        ("020 7946 0052", "GB", "+442079460052"),
        ("01 99 00 00 12", "FR", "+33199000012"),
        ("+46 8 465 004 12", "", "+46846500412"),
        ("0049 30 23125012", "DE", "+493023125012"),
        ("030 23125012", "", None),
        ("1", "DE", None),
        ("call me", "DE", None),
        ("", "DE", None),
        # Only within an area, for which a number of another place would come out.
        ("555-1234", "US", None),
        ("555 0123", "CA", None),
        ("7946 0052", "GB", None),
        ("9374 4000", "AU", None),
        ("234-5678", "JM", None),
        # With an extension, which E.164 would leave out.
        ("(202) 555-0123 ext. 7", "US", None),
        ("+1 202 555 0123 x7", "", None),
        ("020 7946 0052 #12", "GB", None),
        ("+49 30 23125012;ext=12", "", None),
        ("tel:+1-202-555-0123;ext=9", "", None),
        ("\u202a+49 30 23125012\u202c", "", "+493023125012"),
    ],
)
def test_phone_numbers(phone, country, expected):
    assert normalise_phone(phone, country) == expected


@pytest.mark.parametrize(
    ("postcode", "country", "expected"),
    [
        ("sw1a1aa", "GB", "SW1A 1AA"),
        (" sw1a  1aa ", "GB", "SW1A 1AA"),
        ("50667", "DE", "50667"),
        ("211 22", "SE", "211 22"),
        ("", "DE", None),
    ],
)
def test_postcodes(postcode, country, expected):
    assert normalise_postcode(postcode, country) == expected


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        (" Ann@Example.COM ", "Ann@example.com"),
        ("ann", None),
        ("@example.com", None),
        ("ann@localhost", None),
        ("a b@example.com", None),
        ("ann\u200b@example.com", "ann@example.com"),
        ("\u200fann@exam\u00adple.com\ufeff", "ann@example.com"),
        ("mailto:ann@example.com", None),
        ("ann@b@example.com", None),
        ("ann@@example.com", None),
        ("Ann<ann@example.com>", None),
        ("ann@example.com,bob@example.com", None),
        ("ann@example..com", None),
        (".ann@example.com", None),
        ("a.nn+x@example.co.uk", "a.nn+x@example.co.uk"),
        ("j\u00f6rg@b\u00fccher.example", "j\u00f6rg@b\u00fccher.example"),
    ],
)
def test_email_addresses(email, expected):
    assert normalise_email(email) == expected


def test_what_cannot_be_used_is_named_without_its_value():
    customer = Customer.model_validate(
        {"id": "7", "phone": "call me", "email": "ann", "address": {"country": "Germany"}}
    )
    contact, dropped = normalise(customer)
    assert (contact.phone, contact.email, contact.country) == (None, None, None)
    assert dropped == ["email", "phone", "country"]


@pytest.mark.parametrize(
    "unseen",
    ["\u200b", "\u200e", "\u200f", "\u00ad", "\ufeff", "\u2060", "\u202e", "\u3164", "\ufe0f",
     "\u200d", "\u034f", "\U000e0041"],
)  # fmt: skip
def test_what_nobody_sees_is_taken_out_and_named(unseen):
    customer = Customer.model_validate(
        {
            "id": "7",
            "given_name": f"An{unseen}n",
            "family_name": unseen,
            "email": f"ann{unseen}@example.com",
            "address": {"street": f"{unseen}1 Road", "city": "York", "postcode": f"5066{unseen}7"},
        }
    )
    contact, dropped = normalise(customer)
    assert (contact.given_name, contact.family_name, contact.email) == (
        "Ann", None, "ann@example.com",
    )  # fmt: skip
    assert (contact.street, contact.city, contact.postcode) == ("1 Road", "York", "50667")
    assert dropped == ["given_name", "family_name", "email", "street", "postcode"]


@pytest.mark.parametrize(
    "name", ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0915\u094d\u200d\u0937"]
)
def test_joiners_stay_where_they_spell_a_name(name):
    assert normalise_name(name) == name
    assert normalise(Customer(id="7", given_name=name))[1] == []


@pytest.mark.parametrize("identity", ["", "a/b", "a b", "../x", "a" * 65, "é"])
def test_ids_are_plain(identity):
    with pytest.raises(ValidationError):
        CustomerSync(customer_id=identity)


@pytest.mark.parametrize(
    "wrong",
    [
        {"internal_url": "https://internal.example/customers"},
        {"internal_url": "http://internal.example/{id}"},
        {"crm_token": "worker/keys"},
    ],
)
def test_wrong_settings_are_refused(wrong):
    fields = {
        "internal_url": "https://internal.example/customers/{id}",
        "crm_url": "https://crm.example/contacts/{id}",
    }
    Settings(tasks={"customers": fields}).section("customers", CustomerSettings)
    with pytest.raises(ConfigurationError):
        Settings(tasks={"customers": fields | wrong}).section("customers", CustomerSettings)
