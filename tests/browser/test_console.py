"""The console in a real browser: its story, who may do what, and how it looks to anybody."""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from playwright.sync_api import Page, expect
from support.browser import Look
from support.stack import LiveStack
from support.waiting import wait_for

pytestmark = pytest.mark.browser

#: Milliseconds that something may take on a machine with much else to do.
PATIENCE = 120_000

EVERYTHING = ("ops:read", "ops:write", "ops:reveal")


@pytest.fixture(scope="session")
def tokens(stack: LiveStack) -> dict[str, str]:
    return {
        "operator": stack.token_for("operations", *EVERYTHING, label="Olga (operator)"),
        "reader": stack.token_for("operations", "ops:read", label="Rita (reader)"),
    }


def breaks(stack: LiveStack, route: str, status: int) -> None:
    what = {"fail": {"status": status}}
    answer = requests.put(f"{stack.sandbox_url}/control/{route}", json=what, timeout=10)
    assert answer.ok, answer.text


def mend(stack: LiveStack, route: str) -> None:
    assert requests.delete(f"{stack.sandbox_url}/control/{route}", timeout=10).ok


def submit(stack: LiveStack, route: str, count: int) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda n: stack.relay(route, {"n": n}), range(count)))


def open_letters(stack: LiveStack, page: Page) -> int:
    page.goto("/console/letters/")
    text = page.locator("#groups").inner_text()
    found = re.search(r"([\d\u202f]+)\s+open letter", text)
    return int(found[1].replace("\u202f", "")) if found else 0


def audit_lines(page: Page) -> list[str]:
    """Return the verbs of what was changed, the newest first; sign-ins change nothing."""
    page.goto("/console/audit/")
    verbs = page.locator("tbody tr th").all_inner_texts()
    return [verb for verb in verbs if not verb.startswith("console.")]


def test_a_broken_downstream_is_mended_and_its_jobs_are_replayed(stack, look: Look, tokens) -> None:
    page = look.open()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    look.sign_in(page, tokens["operator"])

    breaks(stack, "other", 400)
    healthy = submit(stack, "demo", 20)
    jobs = submit(stack, "other", 500)
    wait_for(lambda: open_letters(stack, page) == 500, seconds=240, what="500 letters")
    rows = page.locator("#groups tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("webhooks.relay")
    expect(rows.first).to_contain_text("downstream-400")
    assert {stack.wait(job)["state"] for job in healthy} == {"succeeded"}
    page.goto("/console/overview")
    look.shoot(page, "overview")

    mend(stack, "other")
    page.goto("/console/letters/")
    rows.first.get_by_role("link").click()
    look.shoot(page, "group")
    page.get_by_role("link", name="Replay 500 letters").click()
    expect(page.locator(".count-big")).to_have_text("500")
    expect(page.get_by_label("Canary first")).to_be_checked()
    page.get_by_label("Reason").fill("the customer's endpoint is mended")
    look.shoot(page, "plan")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("planned")
    expect(page.locator("#replay")).to_contain_text("the customer's endpoint is mended")
    assert open_letters(stack, page) == 500  # a plan sends nothing
    page.go_back()
    page.get_by_role("button", name="Replay 500 letters now").click()

    # Watched, without a touch: the page keeps itself fresh.
    expect(page.locator(".step-done").first).to_contain_text("Canary 1")
    look.shoot(page, "replay-running")
    expect(page.get_by_role("heading", level=1)).to_contain_text("done", timeout=240_000)
    succeeded = page.locator(".stat", has_text="Succeeded")
    expect(succeeded).to_contain_text("500")
    expect(page.locator(".stat", has_text="Died again")).to_contain_text("0")
    look.shoot(page, "replay-done")

    page.goto("/console/letters/")
    expect(page.get_by_text("Nothing is dead")).to_be_visible()
    page.goto("/console/letters/?all=1")
    expect(page.locator("#groups tbody tr")).to_contain_text("500")
    with ThreadPoolExecutor(8) as pool:
        documents = list(pool.map(stack.job, jobs))
    assert [each["state"] for each in documents] == ["succeeded"] * 500
    assert audit_lines(page)[:2] == ["replay.start", "replay.plan"]
    assert look.errors == []


@pytest.fixture
def one_letter(stack: LiveStack) -> str:
    """A job that died a moment ago, and a stray beside it."""
    stack.client("sqs").send_message(
        QueueUrl=stack.queue_url(), MessageBody=f"no message {secrets.token_hex(4)}"
    )
    breaks(stack, "other", 410)
    job = stack.relay("other", {"n": secrets.token_hex(4)})
    stack.wait(job, "dead")
    mend(stack, "other")
    return job


@pytest.fixture
def open_job(stack: LiveStack) -> str:
    """A job that waits for an hour."""
    answer = stack.request(
        "POST",
        "/v1/jobs",
        json={
            "task": "webhooks.relay",
            "payload": {"route": "demo", "event": "test", "body": {"n": 1}},
            "delay": 3_600,
        },
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def dead_group(page: Page) -> str:
    def found() -> str | None:
        page.goto("/console/letters/")
        link = page.locator("#groups tbody a")
        return link.first.get_attribute("href") if link.count() else None

    return wait_for(found, seconds=120, what="a group")


def a_stray(page: Page) -> str:
    """Return the page of a stray that somebody has made."""

    def found() -> str | None:
        page.goto("/console/strays/")
        rows = page.get_by_role("region", name="Strays").locator("tbody a")
        return rows.first.get_attribute("href") if rows.count() else None

    return wait_for(found, seconds=120, what="a stray")


def pages_of(page: Page, job: str) -> dict[str, str]:
    """Return every kind of page there is, by name."""
    group = dead_group(page)
    page.goto(group)
    letter = page.locator("#group .table tbody a").first.get_attribute("href")
    page.goto("/console/replays/")
    replays = page.locator("#replays tbody a")
    found = {
        name: f"/console/{path}"
        for name, path in {
            "overview": "overview",
            "jobs": "jobs/",
            "jobs-dead": "jobs/?state=dead",
            "jobs-wrong": "jobs/?q=nonsense",
            "job": f"jobs/{job}",
            "groups": "letters/",
            "letters": "letters/search?task=webhooks.relay",
            "letters-none": "letters/search?task=no.such",
            "strays": "strays/",
            "strays-none": f"strays/?job={'0' * 32}",
            "replays": "replays/",
            "lanes": "lanes/",
            "workers": "workers/",
            "keys": "keys/",
            "audit": "audit/",
            "missing": "no/such/page",
        }.items()
    }
    found |= {"group": group, "letter": str(letter), "stray": a_stray(page)}
    if replays.count():
        found["replay"] = str(replays.first.get_attribute("href"))
    return found


def asking_pages(page: Page, job: str) -> dict[str, str]:
    """Return the pages that ask before something is done."""
    page.goto("/console/workers/")
    worker = page.get_by_role("link", name="Drain").first.get_attribute("href")
    group = dead_group(page)
    fingerprint = group.rpartition("/")[2]
    page.goto(group)
    letter = page.locator("#group .table tbody a").first.get_attribute("href")
    return {
        "cancel-job": f"/console/jobs/{job}/cancel",
        "reveal": f"{letter}/reveal",
        "pause-lane": "/console/lanes/default/pause",
        "pause-task": "/console/tasks/webhooks.relay/pause",
        "drain-worker": str(worker),
        "plan-replay": f"/console/replays/new?group={fingerprint}",
        "plan-discard": f"/console/replays/new?group={fingerprint}&verb=discard",
        "plan-discard-strays": "/console/replays/new?reason=stray&verb=discard",
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_no_page_has_a_grave_fault(
    stack, look: Look, tokens, one_letter, open_job, scheme, width
) -> None:
    page = look.open(scheme=scheme, width=width)
    page.set_default_timeout(PATIENCE)
    page.goto("/console/sign-in")
    faults = look.faults(page)
    look.shoot(page, f"sign-in-{scheme}-{width}")
    look.sign_in(page, tokens["operator"])
    for name, path in (pages_of(page, one_letter) | asking_pages(page, open_job)).items():
        page.goto(path)
        faults += look.faults(page)
        look.shoot(page, f"{name}-{scheme}-{width}")
    assert faults == []
    # The page that is missing is an error to the browser's console too.
    assert [error for error in look.errors if "404" not in error] == []


def test_everything_works_without_javascript(stack, look: Look, tokens, one_letter) -> None:
    page = look.open(scripts=False)
    page.set_default_timeout(PATIENCE)
    look.sign_in(page, tokens["operator"])
    for name, path in pages_of(page, one_letter).items():
        answer = page.goto(path)
        assert answer
        assert answer.status == (404 if name == "missing" else 200), path
    # A discard, and a pause and its end, by forms alone.
    page.goto(dead_group(page))
    page.get_by_role("link", name=re.compile(r"Discard \d+ letters?…")).click()
    page.get_by_label("Reason").fill("the endpoint is gone for good")
    page.get_by_role("button", name="Make the plan").click()
    page.get_by_role("button", name=re.compile(r"Discard \d+ letters now")).click()

    # The answer is a redirection; a reload before it has arrived would meet the page that goes.
    page.wait_for_url(re.compile(r"/console/replays/(?!new)[^/?]+"))
    its_page = page.url

    def discarded() -> bool:
        page.goto(its_page)
        return "done" in page.get_by_role("heading", level=1).inner_text()

    wait_for(discarded, seconds=120, what="the discard")
    for verb in ("Pause", "Resume"):
        page.goto("/console/lanes/")
        page.get_by_role("link", name=f"{verb}… lane default").click()
        page.get_by_role("button", name=f"{verb} lane").click()
        expect(page.locator(".notice-good")).to_be_visible()
    assert audit_lines(page)[:4] == ["lane.resume", "lane.pause", "discard.start", "discard.plan"]


def test_readers_see_all_and_change_nothing(
    stack, look: Look, tokens, one_letter, open_job
) -> None:
    operator = look.open()
    look.sign_in(operator, tokens["operator"])
    asking = asking_pages(operator, open_job)
    before = audit_lines(operator)

    page = look.open()
    page.set_default_timeout(PATIENCE)
    look.sign_in(page, tokens["reader"])
    for path in pages_of(page, one_letter).values():
        page.goto(path)
        buttons = page.locator("main").get_by_role("button").all_inner_texts()
        looking = [text for text in buttons if text == "Search" or text.startswith("Export")]
        assert buttons == looking, path
        doing = page.locator("main a.button").filter(
            has_text=re.compile("Replay|Discard|Pause|Drain|Resume|Reveal|Cancel")
        )
        assert doing.count() == 0, path
    page.goto("/console/overview")
    expect(page.locator(".tag")).to_have_text("read-only")
    for path in asking.values():
        answer = page.goto(path)
        assert answer
        assert answer.status == 403, path
    # Neither by a form of one's own: with the session's own CSRF value, and from the same origin.
    page.goto("/console/overview")
    csrf = page.locator("input[name=csrf]").first.get_attribute("value")
    replay = operator.goto("/console/replays/")
    assert replay
    some = operator.locator("#replays tbody a")
    posts = [path.partition("?")[0] for path in asking.values()]
    if some.count():
        shown = str(some.first.get_attribute("href"))
        posts += [f"{shown}/{verb}" for verb in ("start", "pause", "resume", "cancel")]
    for path in posts:
        posted = page.request.post(
            path, form={"csrf": str(csrf), "verb": "replay", "why": "x"}, max_redirects=0
        )
        assert posted.status == 403, path
    # Nor by HTTP and the command line.
    for path in ("lanes/default/pause", "tasks/webhooks.relay/pause"):
        refused = stack.request("POST", f"/v1/ops/{path}", token=tokens["reader"])
        assert refused.status_code == 403
    assert audit_lines(operator) == before


def test_a_payload_is_revealed_and_a_job_cancelled(
    stack, look: Look, tokens, one_letter, open_job
) -> None:
    page = look.open()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    look.sign_in(page, tokens["operator"])
    letter = page.locator("main a", has_text=re.compile(r"\.0|…0"))

    def archived() -> bool:
        page.goto(f"/console/jobs/{one_letter}")
        return letter.count() > 0

    wait_for(archived, seconds=120, what="the letter on the job's page")
    letter.first.click()
    page.get_by_role("link", name="Reveal payload…").click()
    page.get_by_label("Reason").fill("ticket 71")
    page.get_by_role("button", name="Ask for the payload").click()
    # The page keeps itself fresh until a worker has opened it.
    page.get_by_role("button", name="Show the payload, once").click()
    payload = page.get_by_role("region", name="Payload")
    expect(payload).to_contain_text('"route": "other"')
    assert look.faults(page) == []
    look.shoot(page, "revealed")
    page.goto(page.url)
    expect(page.locator(".notice")).to_contain_text("shown already")
    expect(payload).to_have_count(0)

    page.goto(f"/console/jobs/{open_job}")
    page.get_by_role("link", name="Cancel 1 job…").click()
    page.get_by_label("Reason").fill("obsolete")
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.locator("#job .state-cancelled").first).to_be_visible()
    assert stack.job(open_job)["state"] == "cancelled"

    page.goto("/console/audit/")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
    exported = waiting.value.path().read_text()
    assert "letter.reveal" in exported
    assert "job.cancel" in exported
    assert look.errors == []


def test_the_keyboard_reaches_everything(stack, look: Look, tokens) -> None:
    page = look.open()
    page.set_default_timeout(PATIENCE)
    look.sign_in(page, tokens["reader"])
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/console/jobs/")
    page.keyboard.press("/")
    expect(page.get_by_label("Job id")).to_be_focused()
    page.get_by_label("Job id").fill("g")
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Dead letters")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert look.errors == []
