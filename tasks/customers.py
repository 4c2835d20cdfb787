"""`customers.sync`: bring a customer of the internal system into the CRM.

The API fetches the customer (`enricher`) before it seals; the worker normalises
names, phone number and address and upserts the contact. The upsert is a PUT
with the job id as idempotency key, so repeats change nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sealwax.egress import (
    HttpRule,
    OutgoingClient,
    OutgoingError,
    outcome,
    parse_target,
    shared_client,
)
from sealwax.egress.enrich import Enricher, UpstreamDown
from sealwax.egress.errors import OutgoingRefused
from sealwax.enrichment import EnrichmentContext
from sealwax.job import Job
from sealwax.settings import Settings
from sealwax.task_definition import task

__all__ = [
    "Contact",
    "Customer",
    "CustomerSettings",
    "CustomerSync",
    "EnrichedCustomer",
    "Synced",
    "enricher",
    "normalise",
    "normalise_name",
    "normalise_phone",
    "sync",
    "upsert",
]

#: Words of family names that stay small where the whole name came in one case.
_PARTICLES = frozenset(
    "af av da das de del della den der di do dos du la le van von zu zur".split()  # noqa: SIM905
)


#: Characters that are letters, marks or symbols by category and show nothing.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")

#: Zero-width joiner and non-joiner, which spell names in the scripts below and nowhere else.
_JOINERS = "\u200c\u200d"
_JOINED_SCRIPTS = (
    "ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "MALAYALAM",
    "MONGOLIAN", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU",
)  # fmt: skip

#: Atoms of an address, joined by dots: no second `@`, no scheme, no display name (RFC 5322, 3.2.3).
_ATOMS = r"[^\s@<>()\[\],:;\\\".]+"
_LOCAL = re.compile(rf"{_ATOMS}(\.{_ATOMS})*")
_DOMAIN = re.compile(rf"{_ATOMS}(\.{_ATOMS})+")


class CustomerSync(BaseModel):
    """A customer to bring into the CRM."""

    model_config = ConfigDict(extra="forbid")

    customer_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")


class Address(BaseModel):
    """An address as the internal system writes it."""

    street: str = Field("", max_length=500)
    city: str = Field("", max_length=200)
    postcode: str = Field("", max_length=40)
    country: str = Field("", max_length=40, description="ISO 3166 code of two letters.")


class Customer(BaseModel):
    """A customer as the internal system writes it; further fields are dropped."""

    id: str = Field(max_length=64)
    given_name: str = Field("", max_length=200)
    family_name: str = Field("", max_length=200)
    email: str = Field("", max_length=320)
    phone: str = Field("", max_length=60)
    address: Address = Field(default_factory=lambda: Address.model_validate({}))


class EnrichedCustomer(CustomerSync):
    """What is sealed: the request and what the internal system said."""

    customer: Customer


class Contact(BaseModel):
    """A contact as the CRM wants it; None where there is nothing usable."""

    id: str
    given_name: str | None
    family_name: str | None
    email: str | None
    phone: str | None = Field(description="E.164.")
    street: str | None
    city: str | None
    postcode: str | None
    country: str | None


class Synced(BaseModel):
    """What became of it: names of fields only, no values."""

    status: int
    dropped: list[str] = Field(description="Fields whose value could not be used, or only in part.")


class CustomerSettings(BaseModel):
    """`[tasks.customers]`."""

    model_config = ConfigDict(extra="forbid")

    internal_url: str = Field(description="Of the internal system, with `{id}` in its path.")
    internal_rule: HttpRule = Field(default_factory=HttpRule)
    crm_url: str = Field(description="Of the CRM, with `{id}` in its path.")
    crm_rule: HttpRule = Field(default_factory=HttpRule)
    crm_token: str | None = Field(
        None, pattern=r"^app/", description="Name of the secret that holds the CRM's bearer token."
    )

    @model_validator(mode="after")
    def _urls(self) -> Self:
        for name in ("internal", "crm"):
            url: str = getattr(self, f"{name}_url")
            rule: HttpRule = getattr(self, f"{name}_rule")
            if "{id}" not in url:
                raise ValueError(f"{name}_url needs {{id}} in its path")
            try:
                target = parse_target(url.replace("{id}", "0"))
                if not rule.hosts and not rule.cidrs:
                    rule = rule.model_copy(update={"hosts": (target.host,)})
                    setattr(self, f"{name}_rule", rule)
                rule.check_target(target)
            except OutgoingRefused as error:
                raise ValueError(f"{name}_url: {error}") from None
        return self


def tidy(text: str) -> str:
    """Return text in NFC, without controls and what nobody sees, with single spaces."""
    composed = unicodedata.normalize("NFC", "".join(_seen(text)))
    return " ".join(composed.split())


def _seen(text: str) -> Iterator[str]:
    """Yield what is seen: controls and separators of lines as spaces, the invisible not at all."""
    for place, char in enumerate(text):
        if unicodedata.category(char) in {"Cc", "Zl", "Zp"}:
            yield " "
        elif not _invisible(char) or (char in _JOINERS and _joins(text[place - 1 : place])):
            yield char


def _invisible(char: str) -> bool:
    return unicodedata.category(char) in {"Cf", "Cn", "Co", "Cs"} or bool(_BLANK.match(char))


def _joins(before: str) -> bool:
    return bool(before) and unicodedata.name(before, "").startswith(_JOINED_SCRIPTS)


def has_invisible(text: str) -> bool:
    """Return whether `tidy` takes something out that nobody sees, other than at a line's end."""
    return any(_invisible(char) for char in text) and len("".join(_seen(text))) < len(text)


def normalise_name(name: str) -> str | None:
    """Return a name with tidy spaces; names all in one case get capitals.

    Mixed case is somebody's decision and stays.
    """
    name = tidy(name)
    if name.isupper() or name.islower():
        words = name.lower().split(" ")
        name = " ".join(
            word
            if word in _PARTICLES and (len(words) > 1 and index < len(words) - 1)
            else re.sub(r"(^|[-'\u2019])(\w)", lambda m: m[1] + m[2].upper(), word)
            for index, word in enumerate(words)
        )
    return name or None


def normalise_phone(phone: str, country: str) -> str | None:
    """Return a phone number in E.164, read as one of `country` unless it says its own.

    None where it is no possible number, where it can be dialled within its area
    alone, and where it has an extension, for which E.164 has no place.
    """
    # Its tables take long to load, and the API needs the contract only.
    import phonenumbers

    try:
        parsed = phonenumbers.parse(tidy(phone), country or None, keep_raw_input=True)
    except phonenumbers.NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    if possible != phonenumbers.ValidationResult.IS_POSSIBLE or parsed.extension:
        return None
    # Of what names no country the length says too little: parts of numbers have it too.
    local = parsed.country_code_source == phonenumbers.CountryCodeSource.FROM_DEFAULT_COUNTRY
    if local and not phonenumbers.is_valid_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def normalise_postcode(postcode: str, country: str) -> str | None:
    """Return a postcode in capitals; British ones get the space before their last three."""
    text = tidy(postcode).upper()
    if country == "GB":
        joined = text.replace(" ", "")
        if re.fullmatch(r"[A-Z0-9]{2,4}[0-9][A-Z]{2}", joined):
            text = f"{joined[:-3]} {joined[-3:]}"
    return text or None


def normalise_email(email: str) -> str | None:
    """Return an address with its domain in small letters; None where it is none."""
    local, _, domain = tidy(email).rpartition("@")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        return None
    return f"{local}@{domain.lower()}"


def normalise(customer: Customer) -> tuple[Contact, list[str]]:
    """Return the contact, and the fields that had a value which could not be used as it is."""
    country = tidy(customer.address.country).upper()
    known = country if re.fullmatch(r"[A-Z]{2}", country) else ""
    contact = Contact(
        id=customer.id,
        given_name=normalise_name(customer.given_name),
        family_name=normalise_name(customer.family_name),
        email=normalise_email(customer.email),
        phone=normalise_phone(customer.phone, known),
        street=tidy(customer.address.street) or None,
        city=normalise_name(customer.address.city),
        postcode=normalise_postcode(customer.address.postcode, known),
        country=known or None,
    )
    address = customer.address
    given = {
        "given_name": customer.given_name,
        "family_name": customer.family_name,
        "email": customer.email,
        "phone": customer.phone,
        "street": address.street,
        "city": address.city,
        "postcode": address.postcode,
        "country": address.country,
    }
    dropped = [
        name
        for name, value in given.items()
        if has_invisible(value) or (tidy(value) and getattr(contact, name) is None)
    ]
    return contact, dropped


def enricher(settings: Settings, client: OutgoingClient) -> Enricher[Customer]:
    """Return what fetches customers from the internal system."""
    section = settings.section("customers", CustomerSettings)
    return Enricher(
        system="customers",
        url=section.internal_url,
        model=Customer,
        rule=section.internal_rule,
        client=client,
    )


def secrets(settings: Settings) -> Iterable[str]:
    """Name the secrets that `upsert` reads."""
    if "customers" not in settings.tasks:
        return []
    token = settings.section("customers", CustomerSettings).crm_token
    return [token] if token else []


def upsert(payload: EnrichedCustomer, job: Job, client: OutgoingClient) -> Synced:
    """Normalise the customer and put the contact into the CRM.

    Raises
    ------
    Rejected, Transient
        As the CRM answers.
    """
    section = job.settings.section("customers", CustomerSettings)
    contact, dropped = normalise(payload.customer)
    headers = {"Content-Type": "application/json", "Idempotency-Key": job.id}
    if section.crm_token:
        headers["Authorization"] = f"Bearer {job.secret(section.crm_token)}"
    try:
        answer = client.request(
            "PUT",
            section.crm_url.replace("{id}", quote(payload.customer_id, safe="")),
            rule=section.crm_rule,
            headers=headers,
            body=json.dumps(contact.model_dump(), ensure_ascii=False).encode(),
            job=job,
            read_body=False,
        )
    except OutgoingError as error:
        raise outcome(error) from error
    return Synced(status=answer.status, dropped=dropped)


def _enrich(payload: CustomerSync, edge: EnrichmentContext) -> EnrichedCustomer:
    if "customers" not in edge.settings.tasks:
        raise UpstreamDown("customers", "not-configured")
    customer = enricher(edge.settings, edge.client).fetch(payload.customer_id)
    return EnrichedCustomer(customer_id=payload.customer_id, customer=customer)


def _configure(settings: Settings) -> None:
    if "customers" in settings.tasks:
        settings.section("customers", CustomerSettings)


@task(
    name="customers.sync",
    contract=CustomerSync,
    enrich=_enrich,
    enriched=EnrichedCustomer,
    secrets=secrets,
    configure=_configure,
)
def sync(payload: EnrichedCustomer, job: Job) -> Synced:
    """Bring a customer of the internal system into the CRM."""
    return upsert(payload, job, shared_client())
