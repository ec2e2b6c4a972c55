// Puts the page together.

const report = readJson("data");
const { experiments } = report;
const afterLayout = []; // what needs to know how wide the page is

const SECTIONS = [
  ["summary", "Summary", summarySection],
  ["curves", "Curves", curvesSection],
  ["scores", "Scores", scoresSection],
  ["listen", "Listen", listenSection],
  ["signals", "Signals", signalsSection],
  ["settings", "Settings", settingsSection],
  ["environment", "Environment", environmentSection],
];

function startContents() {
  const links = new Map(SECTIONS.map(([id, name]) => [id, h("a", { href: `#${id}` }, name)]));
  byId("contents").append(...links.values());
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        for (const [id, link] of links) {
          if (id !== target.id) link.removeAttribute("aria-current");
          else link.setAttribute("aria-current", "true");
        }
        byId("contents").scrollLeft = links.get(target.id).offsetLeft - byId("contents").offsetLeft - 40;
      }
    },
    { rootMargin: "-30% 0px -65% 0px" },
  );
  document.querySelectorAll("section").forEach((one) => watcher.observe(one));
}

const started = performance.now();
startTheme();
startCharts();
byId("main").append(heading(), ...SECTIONS.map(([, , build]) => build()));
byId("footer").append(`Written by AudioZEN ${report.version} on ${report.written.replace("T", " at ").replace("+00:00", " UTC")}. Charts by uPlot.`);
startContents();
afterLayout.forEach((draw) => draw());

window.audiozenReport = { started, ready: performance.now(), player: listen.player, decode, table, charts };
document.documentElement.dataset.ready = "true";
