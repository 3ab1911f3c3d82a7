// The keys. An element says by `data-key` which key presses it; the rest goes from row to row. Off in fields, and where
// somebody has switched single keys off (/keys): all that they do can be reached by Tab.

const SEQUENCE_MS = 1_500, ROW = "table.rows tbody tr:not(.sub)";
let first = "", firstMs = 0, chosen = null;
const isOff = () => { try { return localStorage.getItem("signalq.keys") === "off"; } catch { return false; } };
const FIELD = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
const isField = (element) => element.matches?.(FIELD);
const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
const rows = () => seen(ROW), rowOf = (element) => element?.closest?.(ROW);
const focusable = (row) => row.querySelector("a[href], input, button, summary");
const boxOf = (row) => row?.querySelector("input[type=checkbox]");

function press(key) {   // whether something had this key: in the focused row, or in none
  const named = seen(`[data-key="${CSS.escape(key)}"]`);
  const row = rowOf(document.activeElement);
  const element = named.find((one) => row?.contains(one)) ?? named.find((one) => !rowOf(one));
  if (!element) return false;
  if (isField(element)) element.focus();
  else element.click();
  return true;
}

function step(way) {
  const found = rows(), at = found.indexOf(rowOf(document.activeElement));
  const next = found[at < 0 ? (way > 0 ? 0 : found.length - 1) : at + way];
  if (next) focusable(next)?.focus();   // which scrolls it into view
}

function choose(isRange) {
  const row = rowOf(document.activeElement), box = boxOf(row);
  if (!box) return;
  const found = rows(), from = found.indexOf(chosen), to = found.indexOf(row);
  if (isRange && from >= 0) {
    const range = found.slice(Math.min(from, to), Math.max(from, to) + 1).map(boxOf);
    for (const one of range) if (one?.checked === false) one.click();
  } else box.click();
  chosen = row;
}

function chooseAll() {   // the group of this row, or all rows of this list
  const row = rowOf(document.activeElement);
  const boxes = boxOf(row)?.dataset.choose === "group" ? [boxOf(row)] : [...row?.parentElement.rows ?? []].map(boxOf);
  for (const box of boxes) if (box?.checked === false) box.click();
}

function count() {   // how many are chosen, beside the buttons that act on them
  for (const place of document.querySelectorAll("[data-chosen]")) {
    const many = place.closest("form").querySelectorAll("[data-choose]:checked").length;
    place.dataset.chosen = many ? `${many} chosen` : "";
  }
}

async function copy() {
  const holder = rowOf(document.activeElement)?.querySelector(".id") ?? document.querySelector("main .id");
  if (!holder) return;
  const id = holder.dataset.copy ?? (holder.querySelector("bdi")?.title || holder.textContent.trim());
  const written = navigator.clipboard?.writeText(id).then(() => true, () => false);
  const done = written ? await written : copyOld(id);
  document.getElementById("say").textContent = done ? `copied ${id}` : "the browser did not let it be copied";
}

function copyOld(text) {   // over plain http a browser has no clipboard to write to
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  const before = document.activeElement;
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}

const OWN = {
  a: chooseAll, j: () => step(1), k: () => step(-1), x: () => choose(false), X: () => choose(true), y: copy,
  Enter: () => rowOf(document.activeElement)?.querySelector("a[href]")?.click(),
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (isOff() || isField(target) || document.querySelector("dialog[open]")) return;
  const isSecond = first && Date.now() - firstMs < SEQUENCE_MS;
  const whole = isSecond ? `${first} ${key}` : key;
  first = !isSecond && key === "g" ? key : "";
  firstMs = Date.now();
  if (first) return;
  if (key === "ArrowDown" || key === "ArrowUp") {
    if (!rowOf(target)) return;
    step(key === "ArrowDown" ? 1 : -1);
  } else if (key === "Enter" && !target.matches("input[type=checkbox]")) return;   // a link opens by itself
  else if (!press(whole)) {
    if (isSecond || !OWN[key]) return;
    OWN[key]();
  }
  event.preventDefault();
});
document.addEventListener("change", count);
