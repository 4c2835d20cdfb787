"""URLs are read strictly, and rules say where they may lead."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sealwax.egress import HttpRule, OutgoingRefused, parse_target
from sealwax.egress.rules import host_matches

GOOD = {
    "https://Example.COM/a/b?c=d": ("example.com", 443, "/a/b?c=d"),
    "https://example.com": ("example.com", 443, "/"),
    "https://example.com:8443/": ("example.com", 8443, "/"),
    "http://local_aws:80/x": ("local_aws", 80, "/x"),
    "https://bücher.example/": ("xn--bcher-kva.example", 443, "/"),
    "https://[2606:4700::1111]:444/": ("2606:4700::1111", 444, "/"),
    "https://[2606:4700:0:0::1111]/": ("2606:4700::1111", 443, "/"),
    "https://1.1.1.1/": ("1.1.1.1", 443, "/"),
    "https://1.2.3.4.example.com/": ("1.2.3.4.example.com", 443, "/"),
    "https://example.com?x=@": ("example.com", 443, "/?x=@"),
}


@pytest.mark.parametrize("url", GOOD)
def test_good_urls_have_one_form(url):
    target = parse_target(url)
    assert (target.host, target.port, target.path) == GOOD[url]
    assert parse_target(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https:///path",
        "https://:443/",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://good.example@evil.example/",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:0443/",
        "https://example.com:65536/",
        "https://example.com:+443/",
        "https://example.com:\uff14\uff14\uff13/",
        "https://example.com:a/",
        "https://example.com./",
        "https://.example.com/",
        "https://exa..mple.com/",
        "https://-a.example/",
        "https://example.com/#part",
        "https://example.com\\@evil.example/",
        "https://example.com/\r\nHost: evil",
        "https://exam\tple.com/",
        "https://example.com/a b",
        "https://exam%70le.com/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1.2/",
        "https://example.0x/",
        "https://256.1.1.1/",
        "https://[::1/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.a]/",
        "https://[::1]x/",
        "https://[127.0.0.1]/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://example.com/" + "a" * 5_000,
    ],
)
def test_odd_urls_are_refused(url):
    with pytest.raises(OutgoingRefused) as caught:
        parse_target(url)
    assert caught.value.reason == "url-invalid"


@pytest.mark.parametrize("url", ["ftp://example.com/", "file:///etc/passwd", "gopher://x/"])
def test_other_schemes_are_refused(url):
    with pytest.raises(OutgoingRefused) as caught:
        parse_target(url)
    assert caught.value.reason == "scheme-refused"


def test_wide_digits_become_an_address_and_are_checked_as_one():
    assert parse_target("https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/").literal is not None


@pytest.mark.parametrize(
    ("host", "pattern", "matches"),
    [
        ("a.example.com", "*.example.com", True),
        ("b.a.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("badexample.com", "*.example.com", False),
        ("example.com", "example.com", True),
        ("a.example.com", "example.com", False),
    ],
)
def test_wildcards_stand_for_a_label_or_more(host, pattern, matches):
    assert host_matches(host, pattern) is matches


@pytest.mark.parametrize(
    ("url", "rule", "reason"),
    [
        ("http://example.com/", {"hosts": ["example.com"]}, "scheme-refused"),
        ("https://example.com:8443/", {"hosts": ["example.com"]}, "port-refused"),
        ("https://example.com/", {"hosts": ["example.com"], "ports": [444]}, "port-refused"),
        ("https://example.org/", {"hosts": ["example.com"]}, "host-refused"),
        ("https://example.org/", {}, "host-refused"),
        (
            "https://example.org/",
            {"cidrs": ["10.0.0.0/8"], "proxy": "http://proxy:3128"},
            "host-refused",
        ),
    ],
)
def test_rules_refuse_before_the_name_is_resolved(url, rule, reason):
    with pytest.raises(OutgoingRefused) as caught:
        HttpRule.model_validate(rule).check_target(parse_target(url))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"hosts": ["https://example.com"]},
        {"hosts": ["*"]},
        {"hosts": ["127.1"]},
        {"cidrs": ["10.0.0.1/8"]},
        {"ports": [0]},
        {"ports": [70_000]},
        {"connect": 0},
        {"connect": 9, "total": 5},
        {"proxy": "https://proxy:3128"},
        {"proxy": "http://user:word@proxy:3128"},
        {"unknown": 1},
    ],
)
def test_wrong_rules_are_refused(wrong):
    with pytest.raises(ValidationError):
        HttpRule.model_validate(wrong)


def test_errors_name_the_host_but_never_the_path():
    with pytest.raises(OutgoingRefused) as caught:
        HttpRule(hosts=("example.com",)).check_target(
            parse_target("https://other.example/KANARI?K")
        )
    assert "other.example" in str(caught.value)
    assert "KANARI" not in str(caught.value)
