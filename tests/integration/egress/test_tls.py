"""TLS goes to the checked address, but names and certificates stay those of the URL."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sealwax.egress import DownstreamTimeout, DownstreamUnreachable, HttpRule, OutgoingClient

NAME = "hooks.internal.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for NAME: the file with it alone, the file with its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "ca.pem").write_bytes(public)
    (folder / "server.pem").write_bytes(public + secret)
    return folder / "ca.pem", folder / "server.pem"


class TlsServer:
    """Answers each request; slowly where `pause` says so. Remembers the names asked for."""

    def __init__(self, chain, pause=0.0):
        self.names: list[Any] = []
        self.heads: list[Any] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self._context, self._pause = context, pause
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(raw,), daemon=True).start()

    def _answer(self, raw):
        try:
            with self._context.wrap_socket(raw, server_side=True) as connection:
                self.heads.append(connection.recv(65_536))
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
                    connection.sendall(bytes([byte]))
                    time.sleep(self._pause)
        except OSError:
            raw.close()

    def close(self):
        self._socket.close()


@pytest.fixture
def serve(certificate):
    made = []

    def start(**fields):
        made.append(TlsServer(certificate[1], **fields))
        return made[-1]

    yield start
    for server in made:
        server.close()


def ask(server, *, name=NAME, **fields):
    client = OutgoingClient(resolver=lambda *_: [ipaddress.ip_address("127.0.0.1")])
    rule = HttpRule.model_validate(
        {"cidrs": ["127.0.0.0/8"], "ports": [server.port], "connect": 2, "total": 5} | fields
    )
    return client.request("GET", f"https://{name}:{server.port}/", rule=rule)


def test_the_name_stays_in_sni_host_and_certificate(serve, certificate):
    server = serve()
    assert ask(server, ca_file=certificate[0]).body == b"ok"
    assert server.names == [NAME]
    assert f"Host: {NAME}:{server.port}\r\n".encode() in server.heads[0]


def test_an_unknown_authority_is_refused(serve):
    with pytest.raises(DownstreamUnreachable) as caught:
        ask(serve())
    assert caught.value.cause == "downstream-tls"


@pytest.mark.parametrize("name", ["other.internal.example", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(serve, certificate, name):
    server = serve()
    with pytest.raises(DownstreamUnreachable) as caught:
        ask(server, name=name, ca_file=certificate[0])
    assert caught.value.cause == "downstream-tls"
    assert server.heads in ([], [b""])


def test_a_dripping_answer_inside_tls_ends_at_the_total_time(serve, certificate):
    started = time.monotonic()
    with pytest.raises(DownstreamTimeout):
        ask(serve(pause=0.1), ca_file=certificate[0], connect=0.5, read=0.5, total=1)
    assert time.monotonic() - started < 8  # the whole answer would take far longer
