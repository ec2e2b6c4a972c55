// How the scores of a metric are distributed, what the model gained where, and which groups of signals differ.

const MAX_GROUPS = 16;
const scoreState = { dataset: null, metric: null, group: null };

function scoresSection() {
  const names = datasetNames().filter((name) => metricNames(name).length);
  if (!names.length) return section("scores", "Scores", h("p", { class: "muted" }, "No per-signal table. ", missingTest()));
  scoreState.dataset = names[0];
  const body = h("div");
  const draw = () => drawScores(body);
  afterLayout.push(draw);
  const controls = h("div", { class: "controls" });
  const refresh = () => {
    chooseDefaults();
    controls.replaceChildren(
      choice("Metric", metricNames(scoreState.dataset).map((name) => [name, name]), scoreState.metric, (value) => { scoreState.metric = value; draw(); }),
      ...(names.length > 1 ? [choice("Data", names.map((name) => [name, name]), scoreState.dataset, (value) => { scoreState.dataset = value; refresh(); draw(); })] : []),
      ...(groupings().length ? [choice("By", [...groupings().map((name) => [name, name]), ["", "no group"]], scoreState.group, (value) => { scoreState.group = value; draw(); })] : []),
    );
  };
  refresh();
  return section("scores", "Scores", controls, body);
}

function missingTest() {
  const command = experiments.flatMap((one) => one.notes).find((note) => /test/.test(note.command))?.command;
  return command ? h("span", {}, "It is made by ", h("code", {}, command), ".") : "";
}

function chooseDefaults() {
  const metrics = metricNames(scoreState.dataset);
  if (!metrics.includes(scoreState.metric)) scoreState.metric = metrics.includes(report.metric) ? report.metric : metrics[0];
  if (!groupings().includes(scoreState.group)) scoreState.group = groupings()[0] ?? "";
}

// Columns that put the signals into a few groups.
function groupings() {
  const signals = signalsOf(scoreState.dataset);
  return columnNames(scoreState.dataset, "label", "fact").filter((name) => {
    const num = new Set(signals.map((signal) => valueOf(signal, name))).size;
    return num > 1 && num <= MAX_GROUPS && num < signals.length;
  });
}

function drawScores(body) {
  const { dataset, metric, group } = scoreState;
  const paired = hasInput(dataset, metric);
  const [left, right] = [h("div", { class: "host" }), h("div", { class: "host" })];
  charts.forEach((entry) => body.contains(entry.box) && entry.remove());
  body.replaceChildren(
    h(
      "div",
      { class: "grid wide" },
      h("figure", {}, h("figcaption", {}, "Signals per score"), left),
      paired ? h("figure", {}, h("figcaption", {}, `Gain over the input score`), right) : null,
    ),
    ...(group ? [h("h3", {}, `By ${group}`), scrolling(`${metric} by ${group}`, groupTable())] : []),
  );
  drawHistogram(left, dataset, metric, paired);
  if (paired) drawScatter(right, dataset, metric);
}

// What is compared: the input once, then each experiment.
function parts(dataset, metric) {
  const signals = signalsOf(dataset);
  const outputs = experiments.map((one, index) => ({
    label: experiments.length > 1 ? one.name : hasInput(dataset, metric) ? "enhanced" : metric,
    colour: () => seriesColour(index),
    values: signals.map((signal) => valueOf(signal, metric, index)),
  }));
  const input = { label: "noisy", colour: () => colour("muted"), values: signals.map((signal) => valueOf(signal, `${metric}_noisy`)) };
  return hasInput(dataset, metric) ? [input, ...outputs] : outputs;
}

function drawHistogram(host, dataset, metric, paired) {
  const all = parts(dataset, metric).filter(({ values }) => finite(values).length);
  const values = all.flatMap((part) => finite(part.values));
  if (!values.length) return host.replaceChildren(h("p", { class: "muted" }, `${metric} has no value for any signal.`));
  const edges = binEdges(values, all[all.length - 1].values.length);
  const counts = all.map((part) => countIn(edges, finite(part.values)));
  const decimals = decimalsFor(edges);
  return chart(host, {
    label: `Histogram of ${metric}`,
    describe: all.map((part) => `${part.label}: mean ${short(mean(finite(part.values)))}, ${finite(part.values).length} signals.`).join(" "),
    data: [edges, ...counts],
    series: all.map((part, index) => ({
      label: `${part.label}, mean ${short(mean(finite(part.values)))}`,
      colour: part.colour,
      fill: experiments.length === 1 || (paired && index === 0) ? () => `${part.colour()}2b` : undefined,
      paths: uPlot.paths.stepped({ align: 1 }),
      format: (count) => `: ${count}`,
    })),
    xLabel: [metric, unitOf(metric)].filter(Boolean).join(", "),
    height: 250,
    marks: () => all.map((part) => ({ x: mean(finite(part.values)), colour: part.colour(), dash: [2, 3] })),
    readX: (index) => (index + 1 < edges.length ? `${format(edges[index], decimals)} to ${format(edges[index + 1], decimals)}` : ""),
    options: { y: { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] }, scales: { y: { range: (_, min, max) => [0, Math.max(1, max * 1.08)] } }, cursor: { drag: { x: true, y: false }, points: { show: false } } },
  });
}

function binEdges(values, num) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) return [low - 0.5, low + 0.5];
  const step = niceStep(high - low, Math.min(60, Math.round(4 * Math.cbrt(num) + 8)));
  const start = Math.floor(low / step);
  return Array.from({ length: Math.floor(high / step) - start + 2 }, (_, index) => (start + index) * step);
}

function countIn(edges, values) {
  const counts = edges.map(() => 0);
  const step = edges[1] - edges[0];
  for (const value of values) counts[Math.min(edges.length - 2, Math.floor((value - edges[0]) / step + 1e-9))] += 1;
  return counts;
}

function drawScatter(host, dataset, metric) {
  const points = scatterPoints(dataset, metric);
  if (!points.length) return host.replaceChildren(h("p", { class: "muted" }, "No signal has both scores."));
  const data = [points.map(({ x }) => x), ...experiments.map((_, index) => points.map((one) => (one.number === index ? one.y : null)))];
  const places = data.slice(1).map((column) => column.map((value, index) => (value === null ? -1 : index)).filter((index) => index >= 0));
  const read = (index) => `${points[index].signal.id}`;
  return chart(host, {
    label: `Gain of ${metric} over the score of the input`,
    describe: `${points.filter((one) => one.y * (higherIsBetter(metric) ? 1 : -1) < 0).length} of ${points.length} got worse.`,
    data,
    series: experiments.map((one, index) => ({
      label: experiments.length > 1 ? one.name : "gain",
      colour: () => seriesColour(index),
      paths: () => null,
      points: { show: true, size: points.length > 400 ? 4 : 6, width: 0, fill: () => `${seriesColour(index)}a0` },
      format: (value) => format(value, decimalsFor([value]), true),
      exact: true,
    })),
    xLabel: [`${metric} noisy`, unitOf(metric)].filter(Boolean).join(", "),
    height: 250,
    marks: () => [{ y: 0, colour: colour("muted"), dash: [] }],
    readX: read,
    onPick: (index) => showSignal(points[index].signal),
    options: { scales: { x: { time: false, range: (_, min, max) => padded(min, max) } }, cursor: { dataIdx: (plot, number, closest) => nearestPoint(plot, number, closest, places) } },
  });
}

const padded = (min, max) => [min - 0.03 * (max - min || 1), max + 0.03 * (max - min || 1)];

function scatterPoints(dataset, metric) {
  return signalsOf(dataset)
    .flatMap((signal) =>
      experiments.map((_, number) => {
        const x = valueOf(signal, `${metric}_noisy`, number);
        return { signal, number, x, y: valueOf(signal, metric, number) - x };
      }),
    )
    .filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))
    .sort((a, b) => a.x - b.x);
}

// The point that lies nearest to the pointer, in both directions.
function nearestPoint(plot, number, closest, places) {
  if (number === 0) return plot.cursor.nearestPoint ?? closest;
  const { left, top } = plot.cursor;
  let [best, least] = [null, 900];
  for (const index of places[number - 1] ?? []) {
    const [dx, dy] = [plot.valToPos(plot.data[0][index], "x") - left, plot.valToPos(plot.data[number][index], "y") - top];
    if (dx * dx + dy * dy < least) [best, least] = [index, dx * dx + dy * dy];
  }
  return best;
}

function groupTable() {
  const { dataset, metric, group } = scoreState;
  const signals = signalsOf(dataset);
  const groups = [...groupBy(signals, (signal) => valueOf(signal, group))].sort(([a], [b]) => (typeof a === "number" ? a - b : a < b ? -1 : 1));
  const all = parts(dataset, metric).filter(({ values }) => finite(values).length);
  const values = all.flatMap((part) => finite(part.values)).sort((a, b) => a - b);
  const scale = values.length ? [quantile(values, 0.005), quantile(values, 0.995)] : [0, 1];
  const decimals = decimalsFor(values);
  const outputs = hasInput(dataset, metric) && all.length > 1 ? all.slice(1) : all;
  const input = outputs.length < all.length ? all[0] : null;
  const place = new Map(signals.map((signal, index) => [signal, index]));
  const rows = groups.map(([key, members]) => {
    const of = (part) => defined(members.map((signal) => part.values[place.get(signal)]));
    const means = outputs.map((part) => mean(of(part)));
    const before = input ? mean(of(input)) : NaN;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, key === "" ? "(none)" : typeof key === "number" ? tick(key) : key),
      h("td", { class: "number muted" }, members.length),
      input ? h("td", { class: "number" }, format(before, decimals)) : null,
      means.flatMap((value, index) => [
        h("td", { class: "number strong" }, format(value, decimals)),
        outputs.length > 1 ? (index ? difference(value - means[0], metric, decimals) : null) : input ? difference(value - before, metric, decimals) : null,
      ]),
      h("td", { class: "strips" }, all.map((part) => strip(of(part), scale, part))),
    );
  });
  const heads = [group, "n", ...(input ? ["noisy"] : []), ...outputs.flatMap((part, index) => [part.label, ...(outputs.length > 1 ? (index ? ["Δ"] : []) : input ? ["difference"] : [])]), h("span", { class: "range" }, h("span", {}, format(scale[0], decimals)), h("span", {}, "middle 90 % and 50 %, mean"), h("span", {}, format(scale[1], decimals)))];
  return numbersTable(heads, rows);
}

// Middle 90 % as a line, middle 50 % as a thick one, the mean as a dot.
function strip(values, [low, high], part) {
  const sorted = finite(values).sort((a, b) => a - b);
  const bar = h("div", { class: "strip", title: `${part.label}: ${sorted.length ? `5 % ${short(quantile(sorted, 0.05))}, median ${short(quantile(sorted, 0.5))}, 95 % ${short(quantile(sorted, 0.95))}` : "no value"}` });
  if (!sorted.length) return bar;
  const place = (value) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
  for (const [kind, from, to] of [["most", 0.05, 0.95], ["half", 0.25, 0.75]]) {
    const line = h("span", { class: kind });
    const [start, end] = [place(quantile(sorted, from)), place(quantile(sorted, to))];
    Object.assign(line.style, { left: `${start}%`, width: `${end - start}%` });
    bar.append(line);
  }
  const dot = h("span", { class: "dot" });
  dot.style.left = `${place(mean(sorted))}%`;
  bar.append(dot);
  const index = experiments.findIndex((one) => one.name === part.label);
  bar.classList.add(part.label === "noisy" ? "input" : `series-${Math.max(0, index) % NUM_COLOURS}`);
  return bar;
}
