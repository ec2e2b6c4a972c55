// Light, dark, or what the system says. Charts are painted on canvases and are told when colours change.

const THEMES = ["system", "light", "dark"];
const themeListeners = [];
const colours = {};

function colour(name) {
  colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return colours[name];
}

const NUM_COLOURS = 6;
const seriesColour = (index) => colour(`series-${index % NUM_COLOURS}`);

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").replaceChildren(h("span", { class: "what" }, "Theme: "), theme);
  byId("theme").setAttribute("aria-label", `Theme: ${theme}`);
  try {
    localStorage.setItem("audiozen-theme", theme);
  } catch {
    // Some browsers keep nothing for pages that are opened from the disk.
  }
  recolour();
}

function recolour() {
  for (const name of Object.keys(colours)) delete colours[name];
  themeListeners.forEach((listener) => listener());
}

function startTheme() {
  let theme = "system";
  try {
    theme = localStorage.getItem("audiozen-theme") ?? theme;
  } catch {
    // As above.
  }
  setTheme(THEMES.includes(theme) ? theme : "system");
  byId("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
}
