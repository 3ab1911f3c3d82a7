// The life of a page: it hears what has changed, fetches those regions, and morphs them in. All works without it, too.
// No state but what a person prefers, in localStorage. Times tick by the ledger's clock, which the server tells.

// Without news it polls before what it shows counts as stale, 5 s after the last news.
const POLL_MS = 4_000, STALE_MS = 5_000, OLD_MS = 60_000, SLEPT_MS = 15_000;
const RETRY_MS = 3_000, SIGNED_OUT_MS = 20_000, ANSWER_MS = 10_000, TROUBLE_CHARACTERS_MAX = 160, LOCALE = "sv-SE";

const body = document.body, base = body.dataset.base;
const box = document.getElementById("dialog"), signInBox = document.getElementById("sign-in");
const channel = new BroadcastChannel(`signalq ${base}`);
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const store = (() => { try { return window.localStorage; } catch { return null; } })();   // a browser may forbid it
const prefers = (name) => store?.getItem(`signalq.${name}`);
const prefer = (name, value) => store?.setItem(`signalq.${name}`, value);

let offsetMs = Number(body.dataset.now) ? Number(body.dataset.now) - Date.now() : 0;
let newsMs = Date.now();   // when the server last said something
let polledMs = 0, tickedMs = Date.now(), doubt = null, stream = null, trouble = "";
let held = false, leads = false, isFirst = true, isToldSignedOut = false;
const now = () => Date.now() + offsetMs;

// ---- times ----

export function briefly(ms) {   // as render.briefly has it
  ms = Math.max(0, ms);
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.floor(ms / 1000), min = Math.floor(s / 60), h = Math.floor(min / 60), d = Math.floor(h / 24);
  if (!min) return `${s} s`;
  if (!h) return min >= 10 || !(s % 60) ? `${min} min` : `${min} min ${s % 60} s`;
  return d ? `${d} d ${h % 24} h` : `${h} h ${min % 60} min`;
}

const zone = () => (prefers("zone") === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC");
const formats = new Map();
function moment(at, timeZone) {   // 2026-11-30 14:02:31
  const options = { timeZone, dateStyle: "short", timeStyle: "medium" };
  if (!formats.has(timeZone)) formats.set(timeZone, new Intl.DateTimeFormat(LOCALE, options));
  return formats.get(timeZone).format(at);
}

function clock(at) {
  const shown = moment(at, zone()), today = moment(now(), zone());
  return shown.slice(0, 10) === today.slice(0, 10) ? shown.slice(11) : shown.slice(5);
}

function say(element, words) { if (element && element.textContent !== words) element.textContent = words; }

const SHOWN = { ago: (at) => briefly(now() - at), in: (at) => briefly(at - now()), clock };
const msOf = (time) => `.${time.dateTime.slice(20, 23)}`;

function show(time) {
  const words = SHOWN[time.dataset.show](Date.parse(time.dateTime));
  say(time, time.dataset.ms === undefined ? words : words + msOf(time));
}

function dress(root = document) {   // what the server can't know: zones, and what this browser keeps
  for (const element of all(".unscripted", root)) element.remove();
  for (const time of all("time[data-show]", root)) {
    show(time);
    const at = Date.parse(time.dateTime), in_ = (timeZone) => `${moment(at, timeZone)}${msOf(time)} ${timeZone}`;
    time.title = zone() === "UTC" ? in_("UTC") : `${in_("UTC")} · ${in_(zone())}`;
  }
  say(one("#zone", root), zone());
  for (const button of all("[data-pref]", root)) say(button, PREFS[button.dataset.pref].words());
}

const PREFS = {
  keys: {
    words: () => (prefers("keys") === "off" ? "Switch single keys on" : "Switch single keys off"),
    press: () => prefer("keys", prefers("keys") === "off" ? "on" : "off"),
  },
  notify: {
    words: () => (prefers("notify") === "on" ? "Stop notifying me of orders in doubt" : "Notify me of orders in doubt"),
    press: async () => {
      const isWanted = prefers("notify") !== "on" && window.Notification;
      prefer("notify", isWanted && await Notification.requestPermission() === "granted" ? "on" : "off");
    },
  },
};

// ---- regions ----

let pointed = null;                                 // the table under the pointer; a finger points at none
const tags = new WeakMap(), busy = new WeakSet();   // by region: the ETag of what it shows; whether it is being fetched
const due = new Set(), waiting = new Map();         // regions to fetch; HTML that waits until nobody's hand is there
const failed = [];                                  // regions to fetch once more: the answer was an error

const isSignIn = (url) => new URL(url).pathname === `${base}/sign-in`;

async function ask(url, options = {}) {
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS), ...options });
  if (answer.status === 401 || (answer.redirected && isSignIn(answer.url))) {
    signIn(Boolean(options.headers?.Accept));
    throw new Error("signed out");
  }
  isToldSignedOut = false;
  if (answer.status !== 503) { newsMs = Date.now(); tellLife(); }
  return answer;
}

function changed(names) {   // null: whatever there is
  for (const region of all("[data-region]")) {
    if (!names || region.dataset.on.split(" ").some((name) => names.includes(name))) due.add(region);
  }
  fetchDue();
}

const isStill = (region) => held && region.id !== "head" && !region.closest("dialog");
const isUnseen = (region) => document.hidden && !(leads && region.id === "head");

function fetchDue() {
  for (const region of due) {
    if (!region.isConnected) due.delete(region);
    else if (!isStill(region) && !isUnseen(region) && !busy.has(region)) refresh(region);
  }
}

async function refresh(region) {
  due.delete(region);
  busy.add(region);
  try {
    const tag = tags.get(region);
    const answer = await ask(region.dataset.region, { headers: tag ? { "If-None-Match": tag } : {} });
    const html = await answer.text();
    if (answer.status === 200) { tags.set(region, answer.headers.get("ETag")); put(region, html); }
    else if (answer.status !== 304) { failed.push(region); trouble = html.slice(0, TROUBLE_CHARACTERS_MAX); }
  } catch { failed.push(region); /* the status line says since when there is no news */ } finally {
    busy.delete(region);
    if (due.has(region)) fetchDue();
  }
}

function put(region, html) {
  waiting.delete(region);
  if (isSelected(region)) return void waiting.set(region, html);
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const moves = keepPlaces(region, fresh.content);
  if (moves) {
    region.dataset.moves = `${moves} row${moves > 1 ? "s" : ""} will move`;
    waiting.set(region, html);
  } else delete region.dataset.moves;
  Idiomorph.morph(region, fresh.content, {
    morphStyle: "innerHTML", ignoreActiveValue: true, restoreFocus: true,
    callbacks: { beforeNodeMorphed: (old) => old.dataset?.own === undefined, beforeAttributeUpdated: mayChange },
  });
  dress(region);
  if (region.id === "head") headed();
  announce(region);
}

// What a person has chosen, opened or typed stays.
function mayChange(name, element) {
  if (name === "checked" || name === "selected") return false;
  if (name === "open") return !element.matches("dialog, details");
  return name !== "value" || element.value === element.defaultValue;
}

const groups = (table) => {   // the rows by id, each with the rows of words below it
  const found = new Map();
  let last = null;
  for (const row of table.tBodies[0]?.rows ?? []) {
    if (row.classList.contains("sub") && last) last.push(row);
    else found.set(row.id, last = [row]);
  }
  return found;
};

const isTouched = (table) => table === pointed || table.matches(":focus-within");
const isSelected = (region) => !getSelection().isCollapsed && region.contains(getSelection().anchorNode);

// Rows stay where they are while somebody's pointer or focus is in their table. Returns how many would move.
function keepPlaces(region, fresh) {
  let moves = 0;
  for (const table of all("table[id]", region)) {
    const next = fresh.getElementById(table.id);
    if (!next?.tBodies[0] || !isTouched(table)) continue;
    const rows = groups(next);
    if (rows.has("")) continue;   // without ids nobody knows which row is which
    const wanted = [...rows.keys()];
    const old = [...groups(table).keys()].filter((id) => rows.has(id));
    const kept = [...old, ...wanted.filter((id) => !old.includes(id))];
    moves += outOfOrder(kept.map((id) => wanted.indexOf(id)));
    next.tBodies[0].append(...kept.flatMap((id) => rows.get(id)));
  }
  return moves;
}

export function outOfOrder(places) {   // how many have to move: all but the longest run that rises
  const ends = [];
  for (const place of places) {
    const at = ends.findIndex((end) => end >= place);
    ends[at < 0 ? ends.length : at] = place;
  }
  return places.length - ends.length;
}

function settle() {
  for (const [region, html] of [...waiting]) {
    if (!region.isConnected) waiting.delete(region);
    else if (!isSelected(region) && !all("table[id]", region).some(isTouched)) put(region, html);
  }
}

// ---- what is said ----

const said = new Set(all("[data-say]").map((element) => element.id));

function announce(root) {
  const fresh = all("[data-say]", root).filter((element) => element.id && !said.has(element.id));
  for (const element of fresh) said.add(element.id);
  if (fresh.length) say(one("#say"), fresh.map((element) => element.dataset.say).join(". "));
}

function headed() {   // the head is new: title, icon, and orders in doubt
  const { title, icon, doubt: told } = one("#frame").dataset;
  named({ title, icon });
  if (leads) channel.postMessage({ title, icon });
  const isNew = doubt !== null && told && told !== doubt;
  if (leads && isNew && prefers("notify") === "on") new Notification(title, { body: told, tag: told });
  doubt = told;
}

function named({ title, icon }) {
  document.title = `${title} · ${body.dataset.page}`;
  if (one("#icon").href !== icon) one("#icon").href = icon;
}

// ---- the stream: one for all tabs of this browser ----

function heard({ names, clock }) {   // regions that have changed; the ledger's clock, and when each source was heard of
  newsMs = Date.now();
  if (clock) {
    offsetMs = clock.now - newsMs;
    for (const time of all("[data-follow] time")) {
      const seenMs = clock[time.parentElement.dataset.follow];
      if (seenMs) time.dateTime = new Date(seenMs).toISOString();
    }
  }
  if (names || isFirst) changed(isFirst ? null : names);   // the page may be older than the stream
  isFirst = false;
}

function listen() {
  stream?.close();
  stream = new EventSource(`${base}/events`);
  const pass = (news) => { channel.postMessage(news); heard(news); };
  stream.addEventListener("changed", (event) => pass({ names: event.data.split(" ") }));
  stream.addEventListener("clock", (event) => pass({ clock: JSON.parse(event.data) }));
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, isToldSignedOut ? SIGNED_OUT_MS : RETRY_MS);
  });
}

channel.addEventListener("message", ({ data }) => (data.title ? named(data) : heard(data)));
// The tab that holds the lock has the stream; when it closes, the next one gets both. Over plain http to another
// machine there are no locks, and each tab polls.
navigator.locks?.request(`signalq ${base}`, () => new Promise(() => { leads = true; listen(); }));

// ---- each second ----

function tick() {
  const wasAway = !document.hidden && Date.now() - tickedMs > SLEPT_MS;
  tickedMs = Date.now();
  if (wasAway) { if (leads) listen(); changed(null); say(one("#say"), "caught up"); }
  const paceMs = isToldSignedOut ? SIGNED_OUT_MS : POLL_MS;
  if (Date.now() - newsMs >= POLL_MS && Date.now() - polledMs >= paceMs) { polledMs = Date.now(); changed(null); }
  for (const mark of all("[data-region] [data-again]")) due.add(mark.closest("[data-region]"));
  for (const region of failed.splice(0)) if (!isToldSignedOut) due.add(region);
  fetchDue();
  settle();
  if (!held) for (const time of all('time[data-show="ago"], time[data-show="in"]')) show(time);
  if (!held) for (const bar of all("progress[data-from]")) bar.value = Math.min(now() - bar.dataset.from, bar.max);
  say(one("#clock"), clock(now()));
  tellLife();
}

function tellLife() {
  const quietMs = Date.now() - newsMs, since = clock(newsMs + offsetMs);
  if (quietMs < STALE_MS) trouble = "";
  const why = trouble && `: ${trouble}`;
  const [life, words] = quietMs >= OLD_MS ? ["old", `✗ old: no news since ${since}${why}`]
    : quietMs >= STALE_MS ? ["late", `○ not live since ${since}, trying again${why}`]
    : held ? ["held", "❚❚ held by you"] : ["live", "● live"];
  body.dataset.live = life;
  say(one("#live"), words);
}

// ---- dialogs: the page of an act, shown over the one that led to it ----

function fill(dialog, html, from) {   // whether the page had something for a dialog
  const part = one("[data-dialog-body]", new DOMParser().parseFromString(html, "text/html"));
  if (!part) return false;
  dialog.replaceChildren(document.adoptNode(part));
  const heading = one("h1, h2", part);
  if (heading) { heading.id ||= `${dialog.id}-title`; dialog.setAttribute("aria-labelledby", heading.id); }
  dialog.dataset.from = from;
  dress(part);
  if (!dialog.open) dialog.showModal();
  (one("[autofocus]", part) ?? heading)?.focus();
  return true;
}

async function open(url, dialog = box) {
  try {
    const answer = await ask(url, { headers: { Accept: "text/html" } });
    if (!fill(dialog, await answer.text(), answer.url)) location.assign(answer.url);
  } catch (error) {
    if (error.message !== "signed out") location.assign(url);   // the browser says why it can't be had
  }
}

async function signIn(isAsked) {   // once, and again whenever somebody wants to act
  if (signInBox.open || (isToldSignedOut && !isAsked)) return;
  isToldSignedOut = true;
  signInBox.innerHTML = "<h2>You are signed out</h2><p>What you have typed is kept. Nothing was done.</p>";
  signInBox.showModal();
  try {
    const sentence = [...signInBox.children];
    const answer = await fetch(`${base}/sign-in`, { cache: "no-store", headers: { Accept: "text/html" } });
    if (fill(signInBox, await answer.text(), answer.url)) signInBox.prepend(...sentence);
  } catch { /* the sentences stay */ }
}

async function send(form, submitter, dialog) {
  const fields = new URLSearchParams(new FormData(form, submitter));
  const action = submitter?.getAttribute("formaction") ?? form.getAttribute("action") ?? dialog.dataset.from;
  form.inert = true;
  try {
    const options = { method: "POST", body: fields, headers: { Accept: "text/html" } };
    const answer = await (dialog === signInBox ? fetch(action, options) : ask(action, options));
    if (fill(dialog, await answer.text(), answer.url)) say(one("#say"), one("h1, h2", dialog)?.textContent ?? "");
    else if (dialog === signInBox) { dialog.close(); if (leads) listen(); }
    else location.assign(answer.url);
  } catch (error) {
    if (error.message !== "signed out") unsure(form);
  }
  form.inert = false;
  changed(null);
}

function unsure(form) {
  one(".unsure", form)?.remove();
  const words = document.createElement("p");
  words.className = "notice grave unsure";
  words.textContent = "No answer came: it is not known whether this was done. Look at the page behind, then try again.";
  form.append(words);
}

// ---- what a person presses ----

const BUTTONS = {
  live: () => { held = !held; if (!held) changed(null); tellLife(); },
  zone: () => { prefer("zone", zone() === "UTC" ? "local" : "UTC"); dress(); },
  theme: () => { prefer("theme", { light: "dark", dark: "system" }[prefers("theme")] ?? "light"); theme(); },
};

function theme() {
  const chosen = prefers("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
  const button = one("#theme"), words = `Theme: ${chosen ?? "system"} (t)`;
  if (button) { button.title = words; button.setAttribute("aria-label", words); }
}

document.addEventListener("click", async (event) => {
  const target = event.target.closest?.("a, button");
  if (!target || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const dialog = target.closest("dialog");
  if (BUTTONS[target.id]) BUTTONS[target.id]();
  else if (target.dataset.pref) { await PREFS[target.dataset.pref].press(); dress(); }
  else if (dialog && target.matches("[data-close], [data-back]")) { event.preventDefault(); dialog.close(); }
  else if (target.dataset.dialog !== undefined) {
    event.preventDefault();
    open(target.href, isSignIn(target.href) ? signInBox : dialog ?? box);
  }
});
document.addEventListener("submit", (event) => {
  const form = event.target, dialog = form.closest("dialog");
  if (!dialog || form.getAttribute("method") !== "post") return;
  event.preventDefault();
  send(form, event.submitter, dialog);
});
for (const dialog of [box, signInBox]) dialog.addEventListener("close", () => dialog.replaceChildren());
document.addEventListener("pointerover", (event) => {
  pointed = event.pointerType === "touch" ? null : event.target.closest?.("table");
  if (waiting.size) settle();
});
document.documentElement.addEventListener("pointerleave", () => { pointed = null; });
// A browser lets a hidden tab tick seldom: it did not sleep.
document.addEventListener("visibilitychange", () => { tickedMs = Date.now(); if (!document.hidden) tick(); });
addEventListener("pagehide", () => stream?.close());
addEventListener("pageshow", (event) => { if (event.persisted) { if (leads) listen(); changed(null); } });

theme();
dress();
headed();
tick();
setInterval(tick, 1000);
