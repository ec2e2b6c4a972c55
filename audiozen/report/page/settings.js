// With which settings, where, and how to do it again.

function settingsSection() {
  if (experiments.every((one) => !one.settings_text)) return section("settings", "Settings", h("p", { class: "muted" }, "No config.toml: the run was started from Python, or has not begun. Its settings are in the script."));
  return section("settings", "Settings", experiments.length > 1 ? comparedSettings() : toml(experiments[0].settings_text));
}

function toml(text) {
  const blocks = text.trim().split(/\n(?=\[)/).map((block) => h("span", { class: "block" }, block.trim().split("\n").map(tomlLine)));
  return h("details", { class: "toml", open: true }, h("summary", {}, "config.toml, as run"), h("pre", { tabindex: "0", "aria-label": "Settings" }, h("code", {}, blocks)));
}

function tomlLine(line) {
  const setting = /^([\w."-]+)( = .*)$/.exec(line);
  if (/^\[.*\]$/.test(line)) return [h("span", { class: "table-name" }, line), "\n"];
  return setting ? [h("span", { class: "setting" }, setting[1]), setting[2], "\n"] : [line, "\n"];
}

function comparedSettings() {
  const keys = [...new Set(experiments.flatMap((one) => Object.keys(one.settings)))];
  const differ = new Set(keys.filter((key) => new Set(experiments.map((one) => one.settings[key])).size > 1));
  const host = h("div");
  const draw = (all) => host.replaceChildren(comparison(all ? keys : [...differ], (one, key) => one.settings[key], differ, "setting"));
  draw(false);
  return [h("div", { class: "controls" }, checkbox(`All ${keys.length} settings; ${differ.size} differ`, false, draw)), host];
}

function comparison(keys, valueOfKey, differ, what) {
  if (!keys.length) return h("p", { class: "muted" }, "All are the same.");
  return scrolling(
    `${what}s`,
    h(
      "table",
      { class: "comparison" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, what), experimentHeads())),
      h("tbody", {}, keys.map((key) => h("tr", { class: differ.has(key) ? "differs" : null }, h("th", { scope: "row" }, key), experiments.map((one) => h("td", {}, valueOfKey(one, key) ?? DASH))))),
    ),
  );
}

function environmentSection() {
  const several = experiments.length > 1;
  const keys = [...new Set(experiments.flatMap((one) => Object.keys(one.environment)))];
  const differ = new Set(keys.filter((key) => new Set(experiments.map((one) => one.environment[key])).size > 1));
  const facts = !keys.length
    ? h("p", { class: "muted" }, "No environment.json: it is not known where the run ran.")
    : several
      ? comparison(keys, (one, key) => one.environment[key], differ, "fact")
      : h("dl", { class: "environment" }, keys.map((key) => h("div", {}, h("dt", {}, key), h("dd", {}, experiments[0].environment[key]))));
  return section("environment", "Environment", facts, commandsToRepeat());
}

function commandsToRepeat() {
  const known = experiments.filter((one) => one.commands.length);
  return known.map((one) => [h("h3", {}, experiments.length > 1 ? `Run ${one.name} again` : "Run it again"), copyable(one.commands.join("\n"), "commands")]);
}
