"""Every route of the console, by every session, from everywhere: a generated table, in which no route is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import aiohttp
import pytest
from yarl import URL

from signalq.ops.console.gate.guard import HEADERS
from signalq.ops.console.gate.sessions import SESSION_S, Role, Session
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.rendering.render import static_path
from signalq.ops.console.site import RANK
from tests.support.console_site import TOKEN, VIEW_TOKEN, OpenConsole, open_console


@dataclass(frozen=True)
class Row:
    """A path of a route, who may ask for it, and the fields of its form, if it has any.

    `also` are statuses that say that the request was let in, beside those that LET_IN has.
    """

    path: str
    may: Role = "view"
    fields: Mapping[str, str] = field(default_factory=dict)
    also: frozenset[int] = frozenset()


# By method and pattern. {link} is the secret of the one-time link, where there is one: good once, and then 403.
TABLE: dict[tuple[str, str], Row] = {
    ("GET", "/"): Row("/"),
    ("GET", "/sign-in"): Row("/sign-in", "nobody"),
    ("POST", "/sign-in"): Row("/sign-in", "nobody", {"name": "dave", "token": TOKEN}),
    ("GET", "/link/{secret}"): Row("/link/{link}", "nobody", also=frozenset({403})),
    ("POST", "/link/{secret}"): Row("/link/{link}", "nobody", {"name": "dave"}, also=frozenset({403})),
    ("GET", "/sign-out"): Row("/sign-out", "nobody"),
    ("POST", "/sign-out"): Row("/sign-out", "nobody"),
    ("GET", "/static/{digest}/{name}"): Row(static_path("console.css"), "nobody"),
    ("GET", "/static/{digest}/vendor/{name}"): Row("/static/0/vendor/none.js", "nobody"),
    ("GET", "/parts/head"): Row("/parts/head"),
    ("GET", "/keys"): Row("/keys"),
    ("GET", "/lanes"): Row("/lanes"),
    ("GET", "/lanes/{name}"): Row("/lanes/main"),
    ("GET", "/shared-lane"): Row("/shared-lane"),
    ("GET", "/parts/lane"): Row("/parts/lane?connector=main"),
    ("GET", "/parts/lane-records"): Row("/parts/lane-records?connector=main"),
    ("GET", "/parts/series"): Row("/parts/series?connector=main"),
    ("GET", "/parts/lanes"): Row("/parts/lanes"),
    ("GET", "/parts/attention"): Row("/parts/attention"),
    ("GET", "/parts/throughput"): Row("/parts/throughput"),
    ("GET", "/parts/consumers"): Row("/parts/consumers"),
    ("GET", "/switch"): Row("/switch?connector=main&to=paused"),
    ("POST", "/switch"): Row("/switch", "operate"),
    ("GET", "/switch/{number}"): Row("/switch/1"),
    ("GET", "/parts/switch/{number}"): Row("/parts/switch/1"),
    ("GET", "/events"): Row("/events"),
    ("GET", "/check"): Row("/check"),
    ("POST", "/check"): Row("/check"),
    ("GET", "/parts/check"): Row("/parts/check"),
    ("GET", "/activity"): Row("/activity"),
    ("GET", "/parts/activity"): Row("/parts/activity"),
    ("GET", "/notes/new"): Row("/notes/new", "operate"),
    ("POST", "/notes"): Row("/notes", "operate"),
    ("GET", "/notes/{number}"): Row("/notes/1"),
    ("POST", "/notes/{number}/strike"): Row("/notes/1/strike", "operate"),
    ("GET", "/parts/notes"): Row("/parts/notes"),
    ("GET", "/dead"): Row("/dead"),
    ("GET", "/parts/dead"): Row("/parts/dead"),
    ("GET", "/parts/dead/letters"): Row("/parts/dead/letters"),
    ("GET", "/dead/check"): Row("/dead/check?id=id-1"),
    ("GET", "/dead/discard"): Row("/dead/discard?id=id-1"),
    ("POST", "/dead/verdict"): Row("/dead/verdict", "operate"),
    ("GET", "/dead/letter/{id}"): Row("/dead/letter/id-1"),
    ("POST", "/dead/letter/{id}"): Row("/dead/letter/id-1", "operate"),
    ("GET", "/dead/queue"): Row("/dead/queue"),
    ("POST", "/dead/queue"): Row("/dead/queue", "operate"),
    ("GET", "/dead/note"): Row("/dead/note"),
    ("POST", "/dead/note"): Row("/dead/note", "operate"),
    ("GET", "/jobs"): Row("/jobs"),
    ("GET", "/parts/jobs"): Row("/parts/jobs"),
    ("GET", "/jobs/{job}"): Row("/jobs/a1b2c3-1"),
    ("GET", "/parts/jobs/{job}"): Row("/parts/jobs/a1b2c3-1"),
    ("POST", "/jobs/{job}/replay"): Row("/jobs/a1b2c3-1/replay", "operate"),
    ("POST", "/jobs/{job}/discard"): Row("/jobs/a1b2c3-1/discard", "operate"),
    ("POST", "/jobs/{job}/again"): Row("/jobs/a1b2c3-1/again", "operate"),
    ("POST", "/jobs/{job}/cancel"): Row("/jobs/a1b2c3-1/cancel", "operate"),
    ("GET", "/orders"): Row("/orders"),
    ("GET", "/parts/orders"): Row("/parts/orders"),
    ("GET", "/orders.jsonl"): Row("/orders.jsonl"),
    ("GET", "/orders.csv"): Row("/orders.csv"),
    ("GET", "/orders/{id}"): Row("/orders/id-1"),
    ("GET", "/parts/order/{id}"): Row("/parts/order/id-1"),
    ("GET", "/schedule"): Row("/schedule"),
    ("GET", "/parts/schedule"): Row("/parts/schedule"),
    ("GET", "/schedule/cancel"): Row("/schedule/cancel"),
    ("POST", "/schedule/cancel"): Row("/schedule/cancel", "operate"),
    ("GET", "/schedule/canceled/{number}"): Row("/schedule/canceled/1"),
}
# The request got past the door: it is answered, or what is asked for is not there, or not now.
LET_IN = frozenset({200, 303, 400, 404, 409, 503})
EVIL = "http://evil.example"


def test_every_route_has_a_row_and_no_other() -> None:
    assert set(TABLE) == {(route.method, route.path) for route in ROUTES}


def test_a_row_lets_nobody_do_more_than_its_route() -> None:
    """An act that looks at the role by itself may be for fewer people than its route."""
    assert [route.path for route in ROUTES if RANK[TABLE[route.method, route.path].may] < RANK[route.needs]] == []


@dataclass(frozen=True)
class Asked:
    """One request of the table, and the role that its session has."""

    method: str
    row: Row
    session: str
    role: Role
    site: str

    @property
    def status(self) -> int | None:
        """The status of its refusal; None where it is let in."""
        reads_from_nowhere = self.method == "GET" and self.site in {"nothing", "Origin: null"}
        if self.site != "same-origin" and not reads_from_nowhere:
            return 403
        if RANK[self.role] < RANK[self.row.may]:
            return 401 if self.role == "nobody" else 403
        return None


def sites(console: OpenConsole) -> dict[str, dict[str, str]]:
    """The headers by which a browser says where a request comes from."""
    return {
        "same-origin": {"Sec-Fetch-Site": "same-origin", "Origin": console.url},
        "cross-site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": EVIL},
        "nothing": {},
        "Origin: null": {"Origin": "null"},
        "other host": {
            "Host": f"evil.example:{console.port}",
            "Sec-Fetch-Site": "same-origin",
            "Origin": f"{EVIL}:{console.port}",
        },
    }


def sessions(console: OpenConsole) -> dict[str, tuple[str | None, Role]]:
    """Cookies, and the roles that they give."""
    ours = console.desk.access.sessions
    if not console.desk.access.has_token:
        own = ours.signed(ours.new("carol", "operate"))
        return {"none": (None, "view"), "operate": (own, "operate"), "forged": (own[:-4], "view")}
    long_ago_s = int(time.time()) - SESSION_S
    operate, view = (ours.signed(ours.new("carol", role)) for role in ("operate", "view"))
    by_view_token = ours._signer("view").dumps({"name": "eve", "role": "operate", "began": 0, "used": 0})
    return {
        "none": (None, "nobody"),
        "view": (view, "view"),
        "operate": (operate, "operate"),
        "expired": (ours.signed(Session("carol", "operate", long_ago_s, long_ago_s)), "nobody"),
        "forged": (view.partition(".")[0] + "." + operate.rpartition(".")[2], "nobody"),
        "signed by a view token": (str(by_view_token), "nobody"),
    }


def table(console: OpenConsole) -> Iterator[tuple[Asked, dict[str, str]]]:
    """Every request, with its headers."""
    by_session = sessions(console)
    for ((method, _), row), (name, (cookie, role)), (site, headers) in product(
        TABLE.items(), by_session.items(), sites(console).items()
    ):
        cookies = {"Cookie": f"{console.cookie}={cookie}"} if cookie is not None else {}
        yield Asked(method, row, name, role, site), {"Accept": "*/*", **headers, **cookies}


@pytest.mark.parametrize("has_token", [True, False], ids=["with a token", "without a token"])
async def test_each_request_of_the_table_is_let_in_or_refused_as_it_should_be(
    has_token: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ops = {} if has_token else {"token": None, "view_token": None}
    wrong, count = [], 0
    async with open_console(tmp_path_factory.mktemp("table"), ops=ops) as console, aiohttp.ClientSession() as client:
        link = console.desk.access.one_time_link() or "none"
        for asked, headers in table(console):
            url = URL(f"{console.url}{asked.row.path.replace('{link}', link)}", encoded=True)
            data = dict(asked.row.fields) if asked.method == "POST" else None
            async with client.request(asked.method, url, headers=headers, data=data, allow_redirects=False) as got:
                status = got.status
                missing = [name for name, value in HEADERS.items() if got.headers.get(name) != value]
                is_static = asked.row.path.startswith("/static/") and status == 200
                lacks = [name for name in missing if not (is_static and name == "Cache-Control")]
                sets_cookie = "Set-Cookie" in got.headers
            count += 1
            if asked.status is None:
                is_right = status in LET_IN | asked.row.also
            else:
                is_right = status == asked.status and not sets_cookie
            if not is_right or lacks or got.headers["Server"] != "signalq":
                wrong.append(f"{asked.method} {asked.row.path} by {asked.session} from {asked.site}: {status} {lacks}")
    assert wrong == []
    assert count == len(TABLE) * len(sites(console)) * (6 if has_token else 3)


async def test_a_wrong_link_is_refused_whoever_asks(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_console(tmp_path_factory.mktemp("link"), ops={"token": None, "view_token": None}) as console:
        browser = await console.browser("carol")
        page = await browser.get("/link/wrong", status=403)
        assert "restart the console" in page.text
        answer = await browser.post("/link/wrong", name="eve", status=403, follow=False)
        assert "Set-Cookie" not in answer.headers


async def test_a_program_with_a_token_may_do_what_its_role_may_from_anywhere(console: OpenConsole) -> None:
    """No browser sends Authorization by itself, so nothing else need vouch for such a request."""
    async with aiohttp.ClientSession() as client:
        for token, statuses in ((TOKEN, LET_IN), (VIEW_TOKEN, LET_IN | {403}), ("wrong", {401, 429})):
            for (method, _), row in TABLE.items():
                if row.may == "nobody":
                    continue
                data = dict(row.fields) if method == "POST" else None
                headers = {"Authorization": f"Bearer {token}", "Accept": "*/*"}
                async with client.request(method, f"{console.url}{row.path}", headers=headers, data=data) as got:
                    assert got.status in statuses, f"{method} {row.path} by {token}: {got.status}"
