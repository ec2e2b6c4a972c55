// What there is to know at a glance: state, best score, cost, means per dataset, and what to beware of.

const STATES = { done: "done", running: "running", stopped: "stopped", failed: "failed", new: "end not known" };

function summarySection() {
  const several = experiments.length > 1;
  return section(
    "summary",
    "Summary",
    several ? factsOfSeveral() : keyFigures(experiments[0]),
    notes(),
    h("div", { class: "tables" }, datasetNames().map((name) => meansTable(name))),
  );
}

function heading() {
  const several = experiments.length > 1;
  const [first] = experiments;
  return h(
    "div",
    { class: "heading" },
    h("p", { class: "kind" }, several ? `${experiments.length} experiments side by side` : "Experiment"),
    h("h1", {}, several ? experiments.map((one, index) => h("span", { class: "named" }, swatch(index), one.name)) : first.name),
    several ? null : h("p", { class: "state" }, stateBadge(first), first.message ? h("span", { class: "muted" }, first.message) : null),
    !several && first.description ? h("p", { class: "description" }, first.description) : null,
  );
}

function swatch(index) {
  return h("span", { class: `swatch series-${index % NUM_COLOURS}`, "aria-hidden": "true" });
}

function stateBadge(experiment) {
  return h("span", { class: `badge ${experiment.state}` }, STATES[experiment.state] ?? experiment.state);
}

// [name, value, remark] of what is known.
function factsOf(experiment) {
  const { best, complexity: cost } = experiment;
  const facts = [];
  if (best.checkpoint)
    facts.push(["best score", short(toNumber(best.score)), [experiment.best_metric && `validation ${experiment.best_metric}`, best.checkpoint, isNumber(best.step) && `step ${grouped(best.step)}`].filter(Boolean).join(", ")]);
  if (experiment.step !== null)
    facts.push(["trained", `${grouped(experiment.step)} steps`, experiment.epoch !== null ? `epoch ${experiment.epoch}` : ""]);
  if (cost.parameters !== undefined && cost.parameters !== null)
    facts.push(["parameters", large(cost.parameters), cost.trainable !== undefined && cost.trainable !== cost.parameters ? `${grouped(cost.trainable)} trainable` : grouped(cost.parameters)]);
  if (isNumber(cost.macs_per_second)) facts.push(["multiply-accumulates", large(cost.macs_per_second), "per second of sound"]);
  if (isNumber(cost.latency_ms)) facts.push(["latency", `${brief(cost.latency_ms)} ms`, cost.looks_at_whole_signal ? "looks at the whole signal" : isNumber(cost.look_ahead_samples) ? `looks ${grouped(cost.look_ahead_samples)} samples ahead` : ""]);
  else if (cost.looks_at_whole_signal) facts.push(["latency", "whole signal", "not causal"]);
  if (isNumber(cost.real_time_factor)) facts.push(["real-time factor", brief(cost.real_time_factor), machine(cost)]);
  if (isNumber(cost.real_time_factor_streaming)) facts.push(["streaming", brief(cost.real_time_factor_streaming), "real-time factor, in blocks"]);
  return facts;
}

const isNumber = (value) => typeof value === "number";

function machine(cost) {
  const threads = cost.num_threads ? `${cost.num_threads} thread${cost.num_threads > 1 ? "s" : ""}` : "";
  return [threads, cost.cpu].filter(Boolean).join(", ");
}

function keyFigures(experiment) {
  const facts = factsOf(experiment);
  if (!facts.length) return h("p", { class: "muted" }, "No checkpoint yet.");
  return h(
    "dl",
    { class: "figures" },
    facts.map(([name, value, remark]) => h("div", {}, h("dt", {}, name), h("dd", {}, value), remark ? h("dd", { class: "remark" }, breakable(remark, 20)) : null)),
  );
}

function factsOfSeveral() {
  const all = experiments.map((one) => new Map(factsOf(one).map(([name, ...rest]) => [name, rest])));
  const names = [...new Set(all.flatMap((facts) => [...facts.keys()]))];
  const cell = (found) => h("td", {}, found ? [found[0], found[1] ? h("span", { class: "remark" }, found[1]) : null] : DASH);
  return scrolling(
    "Facts",
    h(
      "table",
      { class: "facts" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), experimentHeads())),
      h(
        "tbody",
        {},
        h("tr", {}, h("th", { scope: "row" }, "state"), experiments.map((one) => h("td", {}, stateBadge(one)))),
        experiments.some((one) => one.description) ? h("tr", {}, h("th", { scope: "row" }, "description"), experiments.map((one) => h("td", { class: "prose" }, one.description || DASH))) : null,
        names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), all.map((facts) => cell(facts.get(name))))),
      ),
    ),
  );
}

const experimentHeads = () => experiments.map((one, index) => h("th", { scope: "col" }, swatch(index), one.name));

function notes() {
  const all = experiments.flatMap(({ name, notes: own }) => own.map((note) => ({ name, note })));
  const same = groupBy(all, ({ note }) => JSON.stringify([note.text, note.command]));
  const items = [...same.values()].map((group) => {
    const [{ note }] = group;
    const names = experiments.length > 1 ? h("strong", {}, `${group.map(({ name }) => name).join(", ")}: `) : null;
    return h(
      "li",
      { class: note.is_warning ? "warning" : "hint" },
      h("span", { class: "tag" }, note.is_warning ? "Warning" : "Note"),
      h("div", {}, h("p", {}, names, note.text), note.command ? copyable(note.command) : null),
    );
  });
  return items.length ? h("ul", { class: "notes", "aria-label": "What to know" }, items) : null;
}

const datasetNames = () => [...new Set(experiments.flatMap((one) => one.datasets.map((dataset) => dataset.name)))];

const datasetOf = (experiment, name) => experiment.datasets.find((dataset) => dataset.name === name);

function unitOf(metric) {
  const base = metric.replace(/_noisy$/, "");
  return report.metrics[base]?.unit ?? "";
}

function metricName(metric) {
  const unit = unitOf(metric);
  return [metric, unit ? h("span", { class: "unit" }, ` ${unit}`) : null];
}

// Where nobody has said which direction is better, higher is taken to be, and nothing is marked.
const directionOf = (metric) => report.metrics[metric]?.higherIsBetter ?? null;

const higherIsBetter = (metric) => directionOf(metric) ?? true;

function arrow(metric) {
  const up = directionOf(metric);
  if (up === null) return null;
  return h("span", { class: "direction", title: up ? "higher is better" : "lower is better" }, up ? "↑" : "↓", h("span", { class: "hidden" }, up ? " higher is better" : " lower is better"));
}

function difference(value, metric, decimals, mark = "") {
  const up = directionOf(metric);
  const worse = up !== null && value !== 0 && Number.isFinite(value) && value > 0 !== up;
  return h("td", { class: worse ? "number worse" : "number" }, format(value, decimals, true) + mark);
}

function meansTable(name) {
  const several = experiments.length > 1;
  const [num] = experiments.map((one) => datasetOf(one, name)?.num_signals).filter(Boolean);
  const title = h("h3", {}, name, h("span", { class: "muted" }, ` ${grouped(num ?? 0)} signals`));
  const table = several ? meansOfSeveral(name) : meansOfOne(datasetOf(experiments[0], name));
  const reasons = experiments.flatMap((one) => failures(one, name, several));
  return h(
    "div",
    { class: "means" },
    title,
    scrolling(`Means of ${name}`, table),
    reasons.length ? h("p", { class: "footnote" }, "† mean over the other signals. Failed: ", reasons.join("; "), ".") : null,
  );
}

function failures(experiment, name, several) {
  return (datasetOf(experiment, name)?.means ?? []).flatMap(({ metric, reasons }) =>
    Object.entries(reasons).map(([reason, count]) => `${several ? `${experiment.name} ` : ""}${metric} ${reason} (${count})`),
  );
}

const meansByMetric = (dataset) => new Map((dataset?.means ?? []).map((means) => [means.metric, { ...means, value: toNumber(means.mean), spread: toNumber(means.std) }]));

const isOfInput = (metric) => metric.endsWith("_noisy");

function meansOfOne(dataset) {
  const means = meansByMetric(dataset);
  const metrics = withoutPartners([...means.keys()]);
  const paired = metrics.some((metric) => means.has(`${metric}_noisy`));
  const spread = metrics.some((metric) => !Number.isNaN(means.get(metric).spread));
  const heads = ["metric", ...(paired ? ["noisy", "enhanced", "difference"] : ["mean"]), ...(spread ? ["std"] : []), "n", "failed"];
  const rows = metrics.map((metric) => {
    const own = means.get(metric);
    const input = means.get(`${metric}_noisy`);
    const decimals = decimalsFor([own.value, input?.value ?? 0]);
    const mark = own.num_failed ? "†" : "";
    const both = own.num_failed || input?.num_failed ? "†" : "";
    return h(
      "tr",
      { class: metric === report.metric ? "chosen" : null },
      h("th", { scope: "row" }, metricName(metric), arrow(metric)),
      paired ? h("td", { class: "number" }, input ? format(input.value, decimals) + (input.num_failed ? "†" : "") : "") : null,
      h("td", { class: "number strong" }, format(own.value, decimals) + mark),
      paired ? (input ? difference(own.value - input.value, metric, decimals, both) : h("td")) : null,
      spread ? h("td", { class: "number muted" }, format(own.spread, decimals)) : null,
      h("td", { class: "number muted" }, own.num),
      h("td", { class: own.num_failed ? "number worse" : "number muted" }, own.num_failed || ""),
    );
  });
  return numbersTable(heads, rows);
}

function numbersTable(heads, rows) {
  return h(
    "table",
    { class: "numbers" },
    h("thead", {}, h("tr", {}, heads.map((head, index) => h("th", { scope: "col", class: index ? "number" : null }, head)))),
    h("tbody", {}, rows),
  );
}

function meansOfSeveral(name) {
  const all = experiments.map((one) => meansByMetric(datasetOf(one, name)));
  const names = [...new Set(all.flatMap((means) => [...means.keys()]))];
  const metrics = withoutPartners(names);
  const paired = metrics.some((metric) => names.includes(`${metric}_noisy`));
  const heads = ["metric", ...(paired ? ["noisy"] : []), ...experiments.flatMap((one, index) => [h("span", {}, swatch(index), one.name), ...(index ? ["Δ"] : [])])];
  const rows = metrics.map((metric) => {
    const values = all.map((means) => means.get(metric)?.value ?? NaN);
    const input = all.map((means) => means.get(`${metric}_noisy`)?.value).find((value) => value !== undefined);
    const decimals = decimalsFor([...values, input ?? 0]);
    const best = (higherIsBetter(metric) ? Math.max : Math.min)(...defined(values));
    return h(
      "tr",
      { class: metric === report.metric ? "chosen" : null },
      h("th", { scope: "row" }, metricName(metric), arrow(metric)),
      paired ? h("td", { class: "number" }, input === undefined ? "" : format(input, decimals)) : null,
      values.flatMap((value, index) => [
        h("td", { class: value === best ? "number strong" : "number" }, format(value, decimals) + (all[index].get(metric)?.num_failed ? "†" : "")),
        ...(index ? [difference(value - values[0], metric, decimals)] : []),
      ]),
    );
  });
  return numbersTable(heads, rows);
}
