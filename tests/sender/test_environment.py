"""What surrounds the process changes nothing about where and how a webhook goes."""

from __future__ import annotations

import pytest

PROXIES = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]


def test_a_proxy_in_the_environment_is_ignored(make_sender, receive, post, monkeypatch):
    proxy, receiver = receive(), receive()
    for name in PROXIES:
        monkeypatch.setenv(name, proxy.url(path=""))
    sender = make_sender("127.0.0.0/8")
    assert post(sender, receiver.url()).delivered
    assert post(sender, "https://192.168.1.1/").error == "blocked_address"
    assert proxy.connections == 0


def test_a_netrc_is_ignored(make_sender, receive, post, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\ndefault login any password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    (tmp_path / ".curlrc").write_text('header = "X-Curlrc: yes"\n')
    receiver = receive()
    assert post(make_sender("127.0.0.0/8"), receiver.url()).delivered
    assert b"authorization" not in receiver.requests[0].lower()
    assert b"X-Curlrc" not in receiver.requests[0]


def test_a_cookie_is_not_kept(sender, receive, post):
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"

    def behave(connection):
        while connection.read_request():
            connection.answer(answer)

    receiver = receive(behave)
    post(sender, receiver.url())
    post(sender, receiver.url())
    assert b"cookie" not in receiver.requests[1].lower()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_a_missing_file_of_authorities_in_the_environment_does_not_break_the_sender(
    make_sender, receive, post, monkeypatch, name
):
    monkeypatch.setenv(name, "/nowhere/at-all.pem")
    assert post(make_sender("127.0.0.0/8"), receive().url()).delivered
