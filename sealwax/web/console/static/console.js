// Makes pages live and quick to reach by keyboard. Every page works without it.
"use strict";

// -- live parts: the page is fetched again, and its marked parts replaced.
const parts = () => document.querySelectorAll("[data-live]");
const note = document.getElementById("live-note");
let failures = 0;

async function refresh() {
  const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "error", credentials: "same-origin" });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts()) {
    const other = part.id && fresh.getElementById(part.id);
    // What somebody is in the middle of using stays as it is.
    const busy = part.contains(document.activeElement) || String(getSelection()).length > 0;
    if (!other || busy || other.innerHTML === part.innerHTML) continue;
    part.innerHTML = other.innerHTML;
  }
}

function schedule() {
  const wanted = [...parts()].map((part) => Number(part.dataset.live) || 5);
  if (!wanted.length) return;
  const seconds = Math.min(60, Math.min(...wanted) * 2 ** Math.min(failures, 4));
  setTimeout(async () => {
    if (!document.hidden) {
      try {
        await refresh();
        failures = 0;
        if (note.textContent) note.textContent = "";
      } catch {
        failures += 1;
        note.textContent = "Not up to date: the API does not answer. Trying again.";
      }
    }
    schedule();
  }, seconds * 1000);
}
schedule();

// -- keyboard: / searches, g and a letter goes to a page, ? explains.
let went = 0;

function help() {
  let box = document.getElementById("keys-help");
  if (!box) {
    box = document.createElement("dialog");
    box.id = "keys-help";
    box.setAttribute("aria-labelledby", "keys-title");
    const title = document.createElement("h2");
    title.id = "keys-title";
    title.textContent = "Keyboard";
    const list = document.createElement("dl");
    list.className = "facts";
    const lines = [["/", "search on this page"], ["?", "this help"]];
    for (const link of document.querySelectorAll("[data-go]")) lines.push([`g ${link.dataset.go}`, link.textContent.trim()]);
    for (const [keys, what] of lines) {
      const term = document.createElement("dt");
      for (const key of keys.split(" ")) {
        const element = document.createElement("kbd");
        element.textContent = key;
        term.append(element, " ");
      }
      const text = document.createElement("dd");
      text.textContent = what;
      list.append(term, text);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => box.close());
    const foot = document.createElement("p");
    foot.className = "hint";
    foot.append(close);
    box.append(title, list, foot);
    document.body.append(box);
  }
  box.showModal();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target instanceof HTMLElement && target.closest("input, select, textarea, dialog")) return;
  if (event.key === "/") {
    const field = document.querySelector("[data-search]");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  } else if (event.key === "?") {
    event.preventDefault();
    help();
  } else if (event.key === "g") {
    went = Date.now();
  } else if (Date.now() - went < 1500) {
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    went = 0;
  }
});

// -- a second click on a slow form would only repeat it.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
  addEventListener("pageshow", () => delete form.dataset.sent, { once: true });
});
