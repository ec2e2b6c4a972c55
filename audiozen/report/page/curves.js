// Curves of everything that was logged, one chart per name, experiments on top of each other.

const AXES = { step: "steps", epoch: "epochs", time: "seconds" };
const curveState = { x: "step", log: false, smoothing: 0.6 };

function curvesSection() {
  const names = curveNames();
  if (!names.length) return section("curves", "Curves", h("p", { class: "muted" }, "Nothing was logged yet."));
  const cells = names.map((name) => ({ name, host: h("div", { class: "host" }) }));
  const draw = () => cells.forEach(drawCurve);
  let pending = 0;
  const smoothing = h("input", {
    type: "range", min: "0", max: "0.98", step: "0.02", value: String(curveState.smoothing),
    oninput: () => {
      curveState.smoothing = Number(smoothing.value);
      cancelAnimationFrame(pending);
      pending = requestAnimationFrame(() => cells.filter(({ name }) => isNoisyCurve(name)).forEach(drawCurve));
    },
  });
  const controls = h(
    "div",
    { class: "controls" },
    choice("Over", [["step", "steps"], ["epoch", "epochs"], ["time", "time"]], curveState.x, (value) => { curveState.x = value; draw(); }),
    checkbox("Log scale", curveState.log, (checked) => { curveState.log = checked; draw(); }),
    h("label", { class: "control" }, h("span", {}, "Smoothing of train/"), smoothing),
    h("span", { class: "muted help" }, "Drag to zoom, double click to show all."),
  );
  afterLayout.push(draw);
  return section(
    "curves",
    "Curves",
    controls,
    h("div", { class: "grid" }, cells.map(({ name, host }) => h("figure", {}, h("figcaption", {}, h("span", { class: "muted" }, prefixOf(name)), curveTitle(name)), host))),
  );
}

const prefixOf = (name) => name.slice(0, name.length - curveTitle(name).length);

const curveTitle = (name) => name.split("/").pop();

const isNoisyCurve = (name) => name.startsWith("train/") && !/\/lr\b/.test(name);

// Names in order: validation first, with the score that decides, then training. Test scores are single numbers, and stand in the summary; scores of
// the input are drawn with those of the output.
function curveNames() {
  const names = [...new Set(experiments.flatMap((one) => one.curves.map((curve) => curve.name)))];
  const shown = withoutPartners(names).filter((name) => !name.startsWith("test/"));
  const rank = (name) => (name.startsWith("valid") ? 0 : 1) * 10 + (isBestCurve(name) ? 0 : 1);
  return shown.sort((a, b) => rank(a) - rank(b));
}

const isBestCurve = (name) => experiments.some((one) => one.best_metric && curveTitle(name) === one.best_metric.split("/").pop());

function drawCurve(cell) {
  cell.chart?.remove();
  const lines = curveLines(cell.name);
  const unit = timeUnit(lines);
  const tables = lines.map(({ curve, values }) => [curve[AXES[curveState.x]].map((x) => x / unit.seconds), values]);
  const joined = uPlot.join(tables.map(([x, y]) => [x, y]), tables.map(() => [0, 1]));
  const last = lines.map(({ curve }) => curve.values.map(toNumber).filter(Number.isFinite).pop());
  cell.chart = chart(cell.host, {
    label: cell.name,
    describe: lines.map((line, index) => `${line.label}: last value ${last[index] === undefined ? "none" : short(last[index])}.`).join(" "),
    data: joined,
    series: lines.map((line, index) => ({ ...line, rest: last[index] })),
    xLabel: curveState.x === "time" ? unit.name : curveState.x,
    log: curveState.log && lines.every(({ values }) => values.every((value) => value === null || value > 0)),
    height: 210,
    sync: "curves",
    marks: () => (curveState.x === "step" && cell.name.startsWith("valid") ? bestMarks() : []),
  });
}

function bestMarks() {
  return experiments.flatMap((one, index) => (isNumber(one.best.step) ? [{ x: one.best.step, colour: experiments.length > 1 ? seriesColour(index) : colour("muted"), text: experiments.length > 1 ? "" : "best" }] : []));
}

function curveLines(name) {
  const several = experiments.length > 1;
  return experiments.flatMap((experiment, index) => {
    const curve = experiment.curves.find((one) => one.name === name);
    const input = experiment.curves.find((one) => one.name === `${name}_noisy`);
    const paint = () => seriesColour(index);
    const dash = index >= NUM_COLOURS ? [7, 3] : undefined;
    const lines = curve ? linesOf(curve, several ? experiment.name : curveTitle(name), paint).map((line) => ({ ...line, dash })) : [];
    if (input && (index === 0 || !several))
      lines.push({ curve: input, values: drawable(input.values), label: "noisy", colour: () => colour("muted"), dash: [5, 4], points: dots(input) });
    return lines;
  });
}

function linesOf(curve, label, paint) {
  const values = drawable(curve.values);
  if (!isNoisyCurve(curve.name) || curveState.smoothing === 0) return [{ curve, values, label, colour: paint, points: dots(curve) }];
  return [
    { curve, values, label: `${label}, as logged`, colour: paint, alpha: 0.25, width: 1, unlisted: true },
    { curve, values: smoothed(values, curveState.smoothing), label, colour: paint, width: 1.75 },
  ];
}

// A few values, as of validations, are shown as dots too: a single one would not be seen otherwise.
const dots = (curve) => ({ show: curve.values.length <= 40, size: 5, fill: () => colour("page") });

const drawable = (values) => values.map((value) => (typeof value === "number" ? value : null));

// Exponential mean, corrected for its start; gaps stay.
function smoothed(values, weight) {
  let [sum, total] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

function timeUnit(lines) {
  if (curveState.x !== "time") return { seconds: 1, name: "" };
  const most = Math.max(...lines.map(({ curve }) => curve.seconds[curve.seconds.length - 1] ?? 0));
  if (most > 2 * 3600) return { seconds: 3600, name: "hours" };
  return most > 300 ? { seconds: 60, name: "minutes" } : { seconds: 1, name: "seconds" };
}
