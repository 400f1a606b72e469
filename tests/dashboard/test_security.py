"""Only who should see a run sees it, and nothing of the machine but runs."""

import pytest
from made_run import MadeRun
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gala.dashboard.security import check_host, is_loopback
from gala.dashboard.server import create_app
from gala.errors import UserError


@pytest.fixture
def app(tmp_path):
    MadeRun(tmp_path / "runs" / "a", records=3)
    (tmp_path / "secret.txt").write_text("secret")
    return create_app(tmp_path / "runs")


def client(app: Starlette, host: str = "127.0.0.1:7777") -> TestClient:
    return TestClient(app, base_url=f"http://{host}", raise_server_exceptions=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    check_host(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "10.0.0.1", "::", "node7", "example.org", "localhost.org"]
)
def test_an_open_address_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UserError, match="--host: .* a token is needed"):
        check_host(host, None)
    check_host(host, "long enough")


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UserError, match="--token: must have at least 8"):
        check_host("127.0.0.1", "secret")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:9"])
def test_known_hosts_are_answered(app: Starlette, host: str) -> None:
    assert client(app, host).get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::2]", "10.0.0.1"])
def test_a_foreign_host_name_is_refused(app: Starlette, host: str) -> None:
    assert client(app).get("/api/runs", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("path", ["/", "/api/runs", "/static/page.js", "/nothing"])
def test_every_answer_forbids_what_is_from_elsewhere(app: Starlette, path: str) -> None:
    headers = client(app).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(app: Starlette, method: str) -> None:
    assert client(app).request(method, "/api/runs").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py",
        "/api/history/../secret.txt", "/api/history/..%2f..%2fsecret.txt", "/api/history//etc",
        "/api/history/%2fetc%2fpasswd", "/api/stream/..", "/api/history/a%00",
        "/api/events/..", "/api/events/%2fetc%2fpasswd",
        "/static/uPlot.LICENSE.txt",
    ],
)  # fmt: skip
def test_names_are_looked_up_never_joined_to_paths(app: Starlette, path: str) -> None:
    answer = client(app).get(path)
    assert answer.status_code == 404 and "secret" not in answer.text.replace("secret.txt", "")


class TestToken:
    token = "open sesame"

    @pytest.fixture
    def guarded(self, tmp_path) -> TestClient:
        MadeRun(tmp_path / "a", records=3)
        app = create_app(tmp_path, host="0.0.0.0", token=self.token)
        return client(app, "node7:7777")

    def test_without_it_nothing_is_shown(self, guarded: TestClient) -> None:
        for path in ("/", "/api/runs", "/metrics", "/static/page.js", "/?token=wrong"):
            assert guarded.get(path).status_code == 401, path

    def test_the_address_gives_a_cookie_and_forgets_the_token(self, guarded: TestClient) -> None:
        answer = guarded.get("/", params={"token": self.token, "x": "1"}, follow_redirects=False)
        assert answer.status_code == 307 and answer.headers["location"] == "/?x=1"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie
        assert guarded.get("/api/runs").status_code == 200

    def test_programs_send_it_as_a_header(self, guarded: TestClient) -> None:
        bearer = {"authorization": f"Bearer {self.token}"}
        assert guarded.get("/api/runs", headers=bearer).status_code == 200
        assert guarded.get("/api/runs", headers={"authorization": "Bearer x"}).status_code == 401
