"""Generated customers of the internal system: the same for the same id, none of them real."""

from __future__ import annotations

import hashlib
import random
from typing import Any

__all__ = ["COUNT", "customer"]

#: Customers with ids 1 to COUNT exist.
COUNT = 10_000

_GIVEN = (
    "Zoë",
    "  José ",
    "ÅSA",
    "李",
    "O'Neil",
    "Jürgen",
    "María  José",
    "Nguyễn",
    "Łukasz",
    "anna",
)
_FAMILY = (
    "Müller",
    "d'Angelo",
    "Østergård",
    "小雨",
    "van der Berg",
    "ŠIMEK",
    "García-López",
    "Văn",
)
#: Numbers from ranges that are reserved for fiction or documentation where the country has one.
_PHONES = (
    ("DE", "030 23125 0{:02d}"),
    ("US", "(202) 555-01{:02d}"),
    ("GB", "020 7946 00{:02d}"),
    ("FR", "01 99 00 00 {:02d}"),
    ("SE", "08-465 004 {:02d}"),
)
_STREETS = ("Große Straße", "Rue de l'Église", "Calle Ñandú", "Østergade", "High  Street")
_CITIES = {"DE": "Köln", "US": "Washington", "GB": "London", "FR": "Besançon", "SE": "Malmö"}
_POSTCODES = {"DE": "50667", "US": "20001", "GB": "sw1a 1aa", "FR": "25000", "SE": "211 22"}


def customer(customer_id: str) -> dict[str, Any] | None:
    """Return a customer as the internal system writes it, or None where there is none."""
    if not (customer_id.isascii() and customer_id.isdigit()) or not 1 <= int(customer_id) <= COUNT:
        return None
    seed = hashlib.sha256(customer_id.encode()).digest()
    choose = random.Random(seed)  # noqa: S311 - generated samples
    country, phone = choose.choice(_PHONES)
    return {
        "id": customer_id,
        "given_name": choose.choice(_GIVEN),
        "family_name": choose.choice(_FAMILY),
        "email": f" Customer{customer_id}@Example.COM ",
        "phone": phone.format(choose.randrange(100)),
        "address": {
            "street": f"{choose.choice(_STREETS)} {choose.randrange(1, 200)}",
            "city": _CITIES[country],
            "postcode": _POSTCODES[country],
            "country": country,
        },
    }
