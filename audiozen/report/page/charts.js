// One way to draw charts with uPlot: drag to zoom, double click to reset, hover or arrow keys to read values.

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const charts = new Set();

/* series: [{label, colour: () => css, width, dash, fill: () => css, paths, points, hidden, format}] */
function chart(host, { label, data, series, xLabel, height = 220, log = false, sync, marks = () => [], options = {}, describe, onPick, readX }) {
  const legend = h("div", { class: "legend" });
  const box = h("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": `${label}. ${describe ?? ""} Arrow keys read values, plus and minus zoom, 0 shows all.` });
  host.replaceChildren(box, legend);
  const axis = {
    font: FONT,
    stroke: () => colour("muted"),
    grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { show: false },
  };
  const plot = new uPlot(
    {
      width: Math.max(200, host.clientWidth),
      height,
      legend: { show: false },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 }, ...options.scales },
      axes: [
        { ...axis, size: 22, gap: 5, space: 70, label: xLabel, labelFont: FONT, labelSize: 16, labelGap: 0, values: (_, ticks) => ticks.map(tick) },
        { ...axis, size: 52, gap: 6, space: 36, values: (_, ticks) => ticks.map(tick), ...options.y },
      ],
      series: [{ label: xLabel }, ...series.map(asSeries)],
      cursor: {
        drag: { x: true, y: false, setScale: true },
        points: { size: 7, width: 0, fill: (_, index) => series[index - 1].colour() },
        y: false,
        ...(sync ? { sync: { key: sync, setSeries: false } } : {}),
        ...options.cursor,
      },
      hooks: {
        draw: [(self) => drawMarks(self, marks())],
        setCursor: [(self) => updateLegend(self)],
        ...options.hooks,
      },
      padding: [8, 18, 0, 0],
    },
    data,
    box,
  );
  const values = series.map((one, index) => {
    const value = h("span", { class: "value" });
    const mark = h("span", { class: one.dash ? "mark dashed" : "mark" });
    const button = h("button", { type: "button", class: "series", "aria-pressed": "true", title: "Show or hide" }, mark, h("span", {}, one.label), value);
    button.addEventListener("click", () => {
      const shown = !plot.series[index + 1].show;
      plot.setSeries(index + 1, { show: shown });
      button.setAttribute("aria-pressed", String(shown));
      if (series[index - 1]?.unlisted) plot.setSeries(index, { show: shown });
    });
    if (!one.unlisted) legend.append(button);
    return { value, mark, one };
  });
  const where = h("span", { class: "where" });
  legend.append(where);

  function updateLegend(self) {
    const index = self.cursor.idx;
    const isOn = index !== null && index !== undefined && self.cursor.left >= 0;
    where.textContent = isOn && self.data[0][index] !== undefined ? (readX ? readX(index, self) : `${xLabel} ${tick(self.data[0][index])}`) : "";
    values.forEach(({ value, one }, number) => {
      const found = isOn ? nearest(self.data[number + 1], self.cursor.idxs?.[number + 1] ?? index, one.exact) : one.rest;
      value.textContent = found === null || found === undefined ? "" : (one.format ?? short)(found);
    });
  }

  function paint() {
    values.forEach(({ mark, one }) => mark.style.setProperty("--mark", one.colour()));
    plot.redraw(false);
  }

  function remove() {
    charts.delete(entry);
    observer.disconnect();
    plot.destroy();
  }

  const entry = { plot, paint, remove, box };
  charts.add(entry);
  const observer = new ResizeObserver(() => {
    if (host.clientWidth && Math.abs(host.clientWidth - plot.width) > 1) plot.setSize({ width: host.clientWidth, height });
  });
  observer.observe(host);
  box.addEventListener("keydown", (event) => chartKey(event, plot, onPick));
  if (onPick) plot.over.addEventListener("click", () => plot.cursor.idx !== null && onPick(plot.cursor.idx));
  updateLegend(plot);
  paint();
  return entry;
}

function asSeries(one) {
  return {
    label: one.label,
    stroke: () => one.colour(),
    width: one.width ?? 1.5,
    dash: one.dash,
    fill: one.fill,
    alpha: one.alpha ?? 1,
    paths: one.paths,
    points: one.points ?? { show: false },
    spanGaps: false,
  };
}

const tick = (value) => {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  const text = size >= 1e6 || (size > 0 && size < 1e-4) ? value.toExponential().replace("e+", "e") : String(Number(value.toPrecision(6)));
  return text.replace("-", "−");
};

// Series that were logged at other steps have no value here: the one before is shown.
function nearest(values, index, exact) {
  for (let place = index; place >= 0; place--) {
    if (typeof values[place] === "number") return values[place];
    if (exact || values[place] === null) return null;
  }
  return null;
}

function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  for (const { x, y, colour: stroke, dash = [4, 4], text } of marks) {
    const isVertical = x !== undefined;
    const place = isVertical ? plot.valToPos(x, "x", true) : plot.valToPos(y, "y", true);
    if (!Number.isFinite(place) || (isVertical && (place < bbox.left || place > bbox.left + bbox.width))) continue;
    if (!isVertical && (place < bbox.top || place > bbox.top + bbox.height)) continue;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(isVertical ? place : bbox.left, isVertical ? bbox.top : place);
    ctx.lineTo(isVertical ? place : bbox.left + bbox.width, isVertical ? bbox.top + bbox.height : place);
    ctx.stroke();
    if (text) {
      ctx.font = FONT.replace("11px", `${11 * devicePixelRatio}px`);
      ctx.textAlign = place > bbox.left + bbox.width * 0.8 ? "right" : "left";
      ctx.fillText(text, place + (ctx.textAlign === "right" ? -5 : 5) * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
    }
    ctx.restore();
  }
}

function chartKey(event, plot, onPick) {
  const { min, max } = plot.scales.x;
  const last = plot.data[0].length - 1;
  const index = plot.cursor.idx;
  const moves = {
    ArrowLeft: () => point(plot, index === null || index === undefined ? last : Math.max(0, index - 1)),
    ArrowRight: () => point(plot, index === null || index === undefined ? 0 : Math.min(last, index + 1)),
    "+": () => zoom(plot, min, max, 0.5),
    "=": () => zoom(plot, min, max, 0.5),
    "-": () => zoom(plot, min, max, 2),
    0: () => plot.setData(plot.data, true),
    Escape: () => plot.setData(plot.data, true),
  };
  if (onPick) moves.Enter = () => index !== null && index !== undefined && onPick(index);
  if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key]) return;
  moves[event.key]();
  event.preventDefault();
  event.stopPropagation();
}

function point(plot, index) {
  plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: plot.over.clientHeight / 2 });
}

function zoom(plot, min, max, factor) {
  const centre = plot.cursor.idx === null || plot.cursor.idx === undefined ? (min + max) / 2 : plot.data[0][plot.cursor.idx];
  const [from, to] = [plot.data[0][0], plot.data[0][plot.data[0].length - 1]];
  plot.setScale("x", { min: Math.max(from, centre - (centre - min) * factor), max: Math.min(to, centre + (max - centre) * factor) });
}

function startCharts() {
  themeListeners.push(() => charts.forEach((entry) => entry.paint()));
}
