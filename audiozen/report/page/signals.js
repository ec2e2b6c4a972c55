// One row per signal: sort by a click on a head, filter by words and conditions.

const ROWS_PER_PAGE = 50;
const OPERATORS = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
};
const table = { text: "", sort: null, descending: false, page: 0, shown: [], metric: null };

function signalsSection() {
  const signals = allSignals();
  if (!signals.length) return section("signals", "Signals", h("p", { class: "muted" }, "No per-signal table. ", missingTest()));
  table.metric = report.metric;
  table.columns = tableColumns();
  table.visible = new Set(table.columns.filter((one) => one.isShown).map((one) => one.key));
  table.filter = h("input", { type: "search", id: "filter", placeholder: "words, or conditions such as " + exampleCondition(), autocomplete: "off", spellcheck: "false", "aria-describedby": "filter-help filter-problem", oninput: () => setFilter(table.filter.value) });
  table.count = h("p", { class: "count", role: "status" });
  table.problem = h("p", { class: "problem", id: "filter-problem" });
  table.head = h("tr");
  table.body = h("tbody");
  table.pages = h("div", { class: "pages" });
  const head = h("thead", {}, table.head);
  const several = experiments.length > 1;
  const metrics = [...new Set(datasetNames().flatMap(metricNames))];
  afterLayout.push(() => { drawHead(); drawTable(); });
  return section(
    "signals",
    "Signals",
    h(
      "div",
      { class: "controls" },
      h("label", { class: "control grow" }, h("span", {}, "Filter"), table.filter),
      several && metrics.length > 1 ? choice("Metric", metrics.map((name) => [name, name]), table.metric, setTableMetric) : null,
      several ? null : columnMenu(),
    ),
    h("p", { class: "muted help", id: "filter-help" }, "All words and conditions must hold. Conditions compare a column with <, <=, >, >=, = or !=; ", h("code", {}, "=nan"), " finds what failed."),
    table.problem,
    table.count,
    scrolling("Signals", h("table", { class: "numbers signals" }, head, table.body)),
    table.pages,
  );
}

function exampleCondition() {
  const [name] = columnNames(datasetNames()[0], "metric");
  return name ? `${name}<${short(toNumber(mean(finite(signalsOf(datasetNames()[0]).map((one) => valueOf(one, name))))) || 0).replace("−", "-")}` : "id";
}

// {key, head, value(signal), reason(signal), text, isShown}
function tableColumns() {
  const datasets = datasetNames();
  const kinds = (...names) => [...new Set(datasets.flatMap((name) => columnNames(name, ...names)))];
  const shared = [
    { key: "id", isText: true, isShown: true, value: (signal) => signal.id },
    ...(datasets.length > 1 ? [{ key: "dataset", isText: true, isShown: true, value: (signal) => signal.dataset }] : []),
    ...kinds("label").map((name) => ({ key: name, isText: true, isShown: true, value: (signal) => valueOf(signal, name) || "" })),
    ...kinds("fact").map((name) => ({ key: name, isShown: true, value: (signal) => valueOf(signal, name) })),
  ];
  const own = experiments.length > 1 ? comparedColumns() : [...new Set(datasets.flatMap(metricNames))].flatMap((name) => metricColumns(name));
  return [...shared, ...own].map(withDecimals);
}

function metricColumns(name) {
  const isMain = name === table.metric;
  const paired = datasetNames().some((dataset) => hasInput(dataset, name));
  const own = { key: name, isShown: true, isMain, value: (signal) => valueOf(signal, name, 0), reason: (signal) => reasonOf(signal, name) };
  if (!paired) return [own];
  const gain = { key: `${name}_i`, head: `Δ ${name}`, isShown: isMain, sign: true, metric: name, scale: own.value, value: (signal) => valueOf(signal, name, 0) - valueOf(signal, `${name}_noisy`, 0) };
  return [
    { key: `${name}_noisy`, isShown: isMain, value: (signal) => valueOf(signal, `${name}_noisy`, 0), reason: (signal) => reasonOf(signal, `${name}_noisy`) },
    own,
    gain,
  ];
}

function comparedColumns() {
  const name = table.metric;
  const input = datasetNames().some((dataset) => hasInput(dataset, name));
  return [
    ...(input ? [{ key: "noisy", isShown: true, value: (signal) => valueOf(signal, `${name}_noisy`) }] : []),
    ...experiments.flatMap((one, index) => [
      { key: one.name, index, isShown: true, isMain: true, value: (signal) => valueOf(signal, name, index), reason: (signal) => reasonOf(signal, name, index) },
      ...(index ? [{ key: `${one.name}_i`, head: `Δ ${one.name}`, isShown: true, sign: true, metric: name, scale: (signal) => valueOf(signal, name, index), value: (signal) => valueOf(signal, name, index) - valueOf(signal, name, 0) }] : []),
    ]),
  ];
}

function withDecimals(one) {
  if (one.isText) return one;
  const values = allSignals().map(one.scale ?? one.value);
  return { ...one, decimals: finite(values).every(Number.isInteger) ? 0 : decimalsFor(values) };
}

function columnMenu() {
  const boxes = table.columns.slice(1).map((one) =>
    checkbox(one.head ?? one.key, table.visible.has(one.key), (checked) => {
      table.visible[checked ? "add" : "delete"](one.key);
      drawHead();
      drawTable();
    }),
  );
  return h("details", { class: "menu" }, h("summary", {}, "Columns"), h("div", { class: "choices" }, boxes));
}

function setTableMetric(name) {
  table.metric = name;
  table.columns = tableColumns();
  drawHead();
  drawTable();
}

const visibleColumns = () => table.columns.filter((one) => table.visible.has(one.key));

function drawHead() {
  const play = report.listen.examples.length ? [h("th", { scope: "col", class: "jump" }, h("span", { class: "hidden" }, "Listen"))] : [];
  table.heads = new Map();
  const heads = visibleColumns().map((one) => {
    const button = h("button", { type: "button", onclick: () => sortBy(one.key) }, one.index === undefined ? null : swatch(one.index), one.head ?? one.key, h("span", { class: "arrow", "aria-hidden": "true" }));
    const head = h("th", { scope: "col", class: one.isText ? null : "number" }, button);
    table.heads.set(one.key, head);
    return head;
  });
  table.head.replaceChildren(...play, ...heads);
}

function sortBy(key) {
  const isNew = table.sort !== key;
  if (!isNew && table.descending) table.sort = null; // back to the order of the table
  else table.sort = key;
  table.descending = !isNew && !table.descending;
  table.page = 0;
  drawTable();
}

function setFilter(text) {
  table.text = text;
  table.page = 0;
  drawTable();
}

function showSignal(signal) {
  table.filter.value = `id="${signal.id.replace(/["\\]/g, "\\$&")}"`;
  setFilter(table.filter.value);
  byId("signals").scrollIntoView();
}

// A condition, or a word. What stands between quotes is one word, and a backslash takes the next letter as it is.
const FILTER_PART = /([^\s"<>=!]+)(<=|>=|!=|<|>|=)("(?:[^"\\]|\\.)*"?|[^\s"]*)|("(?:[^"\\]|\\.)*"?|\S+)/g;

const unquoted = (text) => (text.startsWith('"') ? text.replace(/^"|(?<!\\)"$/g, "").replace(/\\(.)/g, "$1") : text);

// Words, "several words", and conditions: all must hold. What is no condition is a word.
function parseFilter(text) {
  const problems = [];
  const tests = [...text.matchAll(FILTER_PART)].map(([all, name, operator, right, word]) => {
    if (!operator) return containsWord(unquoted(word).toLowerCase());
    const one = table.columns.find(({ key }) => key.toLowerCase() === name.toLowerCase());
    if (!one) {
      problems.push(`There is no column ${name}.`);
      return containsWord(all.toLowerCase());
    }
    return condition(one, operator, unquoted(right));
  });
  return { test: (signal) => tests.every((test) => test(signal)), problems };
}

function containsWord(word) {
  const texts = table.columns.filter(({ isText }) => isText);
  return (signal) => texts.some(({ value }) => String(value(signal)).toLowerCase().includes(word));
}

function condition(one, operator, right) {
  if (right === "") return () => true; // still being typed
  if (!one.isText && right.toLowerCase() === "nan") return (signal) => Number.isNaN(one.value(signal)) === (operator === "=");
  const wanted = one.isText ? right.toLowerCase() : Number(right.replace("−", "-"));
  const value = one.isText ? (signal) => String(one.value(signal)).toLowerCase() : one.value;
  return (signal) => !Number.isNaN(value(signal)) && OPERATORS[operator](value(signal), wanted);
}

// Sorted copies; what has no value comes last in both directions.
function sorted(signals) {
  const one = table.columns.find(({ key }) => key === table.sort);
  if (!one) return signals;
  const sign = table.descending ? -1 : 1;
  const collator = new Intl.Collator(undefined, { numeric: true });
  const isMissing = one.isText ? (value) => value === "" : Number.isNaN;
  const compare = one.isText ? collator.compare : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const keyed = signals.map((signal) => [one.value(signal), signal]);
  keyed.sort(([a], [b]) => Number(isMissing(a)) - Number(isMissing(b)) || (isMissing(a) ? 0 : sign * compare(a, b)));
  return keyed.map(([, signal]) => signal);
}

function drawTable() {
  const { test, problems } = parseFilter(table.text);
  table.problem.textContent = problems.join(" ");
  table.shown = sorted(allSignals().filter(test));
  table.page = Math.min(table.page, Math.max(0, Math.ceil(table.shown.length / ROWS_PER_PAGE) - 1));
  for (const [key, head] of table.heads) head.setAttribute("aria-sort", key === table.sort ? (table.descending ? "descending" : "ascending") : "none");
  const rows = table.shown.slice(table.page * ROWS_PER_PAGE, (table.page + 1) * ROWS_PER_PAGE);
  table.body.replaceChildren(...rows.map(tableRow));
  drawCount();
  drawPages();
}

function drawCount() {
  const total = allSignals().length;
  const main = visibleColumns().filter(({ isMain, sign }) => isMain || sign);
  const means = main.map((one) => `${one.head ?? one.key} ${format(mean(defined(table.shown.map(one.value))), one.decimals ?? 2, one.sign)}`);
  table.count.textContent = `${grouped(table.shown.length)} of ${grouped(total)} shown${means.length && table.shown.length ? `, mean ${means.join(", ")}` : ""}`;
}

function drawPages() {
  const num = Math.ceil(table.shown.length / ROWS_PER_PAGE);
  const go = (page) => () => { table.page = page; drawTable(); };
  const button = (label, page, disabled) => h("button", { type: "button", class: "quiet", disabled, onclick: go(page) }, label);
  table.pages.replaceChildren(
    ...(num > 1
      ? [button("First", 0, table.page === 0), button("Previous", table.page - 1, table.page === 0), h("span", { class: "muted" }, `${table.page * ROWS_PER_PAGE + 1} to ${Math.min(table.shown.length, (table.page + 1) * ROWS_PER_PAGE)}`), button("Next", table.page + 1, table.page === num - 1), button("Last", num - 1, table.page === num - 1)]
      : []),
  );
}

function tableRow(signal) {
  return h("tr", {}, report.listen.examples.length ? h("td", { class: "jump" }, playButton(signal)) : null, visibleColumns().map((one) => tableCell(signal, one)));
}

function playButton(signal) {
  const number = exampleNumber(signal);
  return number < 0 ? null : h("button", { type: "button", class: "quiet jump", "aria-label": `Listen to ${signal.id}`, title: "Listen", onclick: () => listenTo(number) }, icon(PLAY, 10));
}

function tableCell(signal, one) {
  const value = one.value(signal);
  if (one.key === "id") return h("th", { scope: "row", class: "id" }, value);
  if (one.isText) return h("td", {}, value);
  if (Number.isNaN(value)) {
    const reason = one.reason?.(signal);
    return h("td", { class: "number missing", title: reason }, DASH, reason ? h("span", { class: "reason" }, ` ${reason}`) : null);
  }
  if (one.metric) return difference(value, one.metric, one.decimals);
  return h("td", { class: one.isMain ? "number strong" : "number" }, format(value, one.decimals));
}
