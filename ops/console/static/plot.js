// The plots of a lane's page, by uPlot, over the drawn charts, which stay for those who print or hear the page.

const PERIOD_MS = 15_000, HEIGHT = 220, WIDTH_MIN = 280;
const room = document.querySelector("[data-plots]");
let plots = [];

function ink(name) {   // a colour of the style sheet, as the present theme has it
  const probe = document.createElement("span");
  probe.className = name;
  room.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function zone() {
  let kept = null;
  try { kept = localStorage.getItem("signalq.zone"); } catch { /* a browser may forbid it */ }
  return kept === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
}

function options(title, series, scales) {
  const timeZone = zone(), line = { stroke: ink("grid-ink"), width: 1 };
  const time = new Intl.DateTimeFormat("sv-SE", { timeZone, timeStyle: "medium" });
  const at = (seconds) => time.format(seconds * 1000);
  const axis = { stroke: ink("muted"), grid: line, ticks: line };
  return {
    title: `${title} (${timeZone})`, width: Math.max(WIDTH_MIN, room.firstElementChild.clientWidth), height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), timeZone), scales,
    series: [{ value: (_, seconds) => (seconds === null ? "" : at(seconds)) }, ...series],
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((seconds) => at(seconds).slice(0, 5)) },
      { ...axis, values: (_, ticks) => ticks.map(Math.abs) },
    ],
  };
}

function endings(title, counted, nowMs, place) {   // columns; deaths hang below the axis
  const { bucket_ms: bucketMs, delivered, dead, reasons } = counted;
  const end = Math.floor(nowMs / bucketMs) * bucketMs;
  const times = delivered.map((_, at) => (end - (delivered.length - 1 - at) * bucketMs) / 1000);
  const names = Object.keys(reasons);
  const told = (name, at) => reasons[name][at] && `${reasons[name][at]} ${name}`;
  const why = (at) => names.map((name) => told(name, at)).filter(Boolean).join(", ");
  const column = { paths: uPlot.paths.bars({ size: [0.9, 40] }), points: { show: false } };
  const series = [
    { ...column, label: "delivered", fill: ink("delivered-ink") },
    { ...column, label: "dead", fill: ink("dead-ink"), value: (_, count, __, at) => (count && why(at)) || "0" },
  ];
  return new uPlot(options(title, series, {}), [times, delivered, dead.map((count) => -count)], place);
}

function posts(title, told, fromMs, nowMs, place) {
  const colour = ink("accent-ink");
  const series = [{ label: "ms", paths: () => null, points: { show: true, size: 5, fill: colour, stroke: colour } }];
  const y = { range: (_, __, most) => [0, Math.max(10, 1.1 * (most ?? 0))] };
  const scales = { x: { range: [fromMs / 1000, nowMs / 1000] }, y };
  return new uPlot(options(title, series, scales), [told.map(([at]) => at / 1000), told.map(([, ms]) => ms)], place);
}

function draw(told) {
  const { now_ms: nowMs, short, long } = told;
  for (const plot of plots) plot.destroy();
  room.hidden = false;
  document.body.classList.add("plotted");
  room.replaceChildren(...["short", "posts", "long"].map(() => document.createElement("div")));
  const fromMs = nowMs - short.bucket_ms * short.delivered.length;
  plots = [
    endings("15 minutes", short, nowMs, room.children[0]),
    posts("POST time in ms, 15 minutes", told.posts, fromMs, nowMs, room.children[1]),
    endings("24 hours", long, nowMs, room.children[2]),
  ];
}

async function look(isAsked) {   // not while somebody points at a plot, unless it was asked for
  if (document.hidden || document.body.dataset.live === "held" || (!isAsked && room.matches(":hover"))) return;
  try {
    const answer = await fetch(room.dataset.plots, { cache: "no-store" });
    if (answer.ok) draw(await answer.json());
  } catch { /* the drawn charts stay */ }
}

if (room && window.uPlot) {
  look(true);
  setInterval(() => look(false), PERIOD_MS);
  document.addEventListener("click", (event) => { if (event.target.closest?.("#zone, #theme")) look(true); });
  addEventListener("resize", () => look(true));
}
