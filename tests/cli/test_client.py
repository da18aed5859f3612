"""How the commands find the service, and what they say when they do not."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from typing import Any

import pytest


def complaint(result, status=1):
    """The one line on stderr."""
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


def test_the_key_is_found_in_the_data_directory(shell, tmp_path):
    (tmp_path / "api-key").write_text(shell.environ["HOOKREEL_API_KEY"] + "\n")
    assert shell("jobs", "list", HOOKREEL_API_KEY="").exit_code == 0


def test_a_file_may_hold_the_key(shell, tmp_path):
    (tmp_path / "mine").write_text(shell.environ["HOOKREEL_API_KEY"])
    answer = shell("jobs", "list", HOOKREEL_API_KEY="", HOOKREEL_API_KEY_FILE=str(tmp_path / "mine"))
    assert answer.exit_code == 0


def test_without_a_key_it_says_where_one_would_be(shell, tmp_path):
    line = complaint(shell("jobs", "list", HOOKREEL_API_KEY=""))
    assert str(tmp_path / "api-key") in line
    assert "HOOKREEL_API_KEY" in line


def test_a_service_that_is_not_there_can_be_started(shell):
    with create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    line = complaint(shell("jobs", "list", HOOKREEL_URL=f"http://127.0.0.1:{port}"))
    assert f"http://127.0.0.1:{port}" in line
    assert "hookreel up" in line


def test_something_else_at_the_url_is_told_apart(shell, origin):
    line = complaint(shell("endpoints", "list", HOOKREEL_URL=f"{origin}/docs"))
    assert "404" in line or "nothing" in line


@pytest.mark.parametrize("url", ["nonsense", "ftp://example.com", "http://user:secret@example.com"])
def test_a_url_that_is_none_is_refused(shell, url):
    line = complaint(shell("jobs", "list", HOOKREEL_URL=url))
    assert line.startswith("Error: HOOKREEL_URL: ")
    assert "secret" not in line


@pytest.mark.parametrize("key", ["hrk_wrong", "hrk_with\nbreak", "hrk_ä"])
def test_a_key_is_never_shown(shell, key):
    line = complaint(shell("jobs", "list", HOOKREEL_API_KEY=key))
    assert "hrk_w" not in line
    assert "ä" not in line
    assert "HOOKREEL_API_KEY" in line


def test_proxies_and_netrc_are_ignored(shell, tmp_path):
    (tmp_path / "netrc").write_text("default login x password y\n")
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "NETRC": str(tmp_path / "netrc")}
    assert shell("jobs", "list", **proxies).exit_code == 0


def test_a_wrong_option_is_a_matter_of_usage(shell):
    assert shell("jobs", "submit").exit_code == 2
    assert shell("endpoints", "add", "https://example.com", "--timeout", "x").exit_code == 2


def test_the_services_own_words_are_the_complaint(shell):
    line = complaint(shell("endpoints", "add", "ftp://example.com"))
    assert line.startswith("Error: url: ")
    line = complaint(shell("jobs", "show", "nope"))
    assert "there is no job nope" in line


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_a_service_of_another_kind_is_told_apart(shell, body):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = shell("jobs", "list", HOOKREEL_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "is HOOKREEL_URL right?" in complaint(result)
