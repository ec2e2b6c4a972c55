// Chosen signals: noisy, enhanced and clean under one cursor, with spectrograms on one scale.

const KINDS = ["chosen", "worst", "degraded most", "differ most", "median", "best", "failed", "fixed"];
const SEEK = 1; // seconds
const listen = { order: [], current: null, view: null };

function listenSection() {
  const { examples, problems } = report.listen;
  const remarks = listenRemarks();
  if (!examples.length) return section("listen", "Listen", h("p", { class: "muted" }, "No sound to listen to. ", missingSound()), problemList(problems));
  listen.player = new Player(updateListen);
  const list = h("div", { class: "examples", role: "group", "aria-label": "Examples" }, exampleList());
  const view = h("div", { class: "view" });
  listen.viewHost = view;
  afterLayout.push(() => showExample(listen.order[0]));
  document.addEventListener("keydown", listenKey);
  return section(
    "listen",
    "Listen",
    h("p", { class: "muted help keys" }, "Keys: ", keyHint("Space", "play"), keyHint(numberKeys(examples), "switch"), keyHint("← →", "seek"), keyHint("j k", "next, previous"), keyHint("l", "loop")),
    remarks.length ? h("p", { class: "muted help" }, remarks) : null,
    problemList(problems),
    h("div", { class: "listen" }, list, view),
  );
}

function numberKeys(examples) {
  const num = Math.max(...examples.map(({ signals }) => signals.length));
  return num > 1 ? `1–${num}` : "1";
}

const keyHint = (key, text) => h("span", { class: "key" }, h("kbd", {}, key), ` ${text} `);

function listenRemarks() {
  const { numLeftOut, numWithSound, budgetMegabytes } = report.listen;
  const partial = Object.entries(numWithSound).filter(([name, num]) => num && num < signalsOf(name).length);
  return [
    ...(numLeftOut ? [h("span", {}, `${numLeftOut} more that were chosen are left out: sound and pictures are kept below ${budgetMegabytes} MB. `)] : []),
    ...partial.map(([name, num]) => h("span", {}, `Of ${name}, ${num} of ${signalsOf(name).length} signals have sound. `)),
  ];
}

function problemList(problems) {
  return problems.length ? h("ul", { class: "notes" }, problems.map((text) => h("li", { class: "warning" }, h("span", { class: "tag" }, "Warning"), h("p", {}, text)))) : null;
}

function missingSound() {
  if (!datasetNames().length) return missingTest();
  return experiments.length > 1
    ? "Sound is shown of signals that all experiments have tested and written to their folders enhanced/."
    : "A test writes it to enhanced/ and sounds/ in the folder of the run.";
}

// By dataset and kind, worst first.
function exampleList() {
  const several = datasetNames().length > 1;
  return datasetNames().flatMap((name) =>
    KINDS.flatMap((kind) => {
      const numbers = report.listen.examples.flatMap((one, number) => (one.dataset === name && one.groups[0] === kind ? [number] : []));
      listen.order.push(...numbers);
      return numbers.length ? [h("h3", {}, several ? `${name}: ${kind}` : kind), h("ul", {}, numbers.map((number) => h("li", {}, exampleButton(number))))] : [];
    }),
  );
}

function exampleButton(number) {
  const example = report.listen.examples[number];
  const button = h(
    "button",
    { type: "button", class: "example", onclick: () => showExample(number) },
    h("span", { class: "id", title: example.signal_id }, example.signal_id),
    h("span", { class: "score" }, exampleScore(example)),
  );
  (listen.buttons ??= new Map()).set(number, button);
  return button;
}

const signalOf = (example) => signalsOf(example.dataset).find(({ id }) => id === example.signal_id);

function exampleScore(example) {
  const signal = signalOf(example);
  if (!report.metric || !signal) return "";
  const values = experiments.map((_, index) => valueOf(signal, report.metric, index));
  const before = valueOf(signal, `${report.metric}_noisy`);
  const decimals = Math.max(0, decimalsFor(scoresOf(example.dataset)) - 1);
  return [...(experiments.length === 1 && !Number.isNaN(before) ? [format(before, decimals), " → "] : []), values.map((value) => format(value, decimals)).join(" | ")].join("");
}

const scoresOf = (dataset) => signalsOf(dataset).map((signal) => valueOf(signal, report.metric));

const exampleNumber = (signal) => report.listen.examples.findIndex((one) => one.dataset === signal.dataset && one.signal_id === signal.id);

function showExample(number) {
  listen.current = number;
  listen.player.load(number);
  listen.buttons.forEach((button, other) => (other === number ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current")));
  listen.view = exampleView(number);
  listen.viewHost.replaceChildren(listen.view.element);
  showInList(listen.buttons.get(number));
  updateListen();
}

// Scrolls the list alone: scrollIntoView would move the page too.
function showInList(button) {
  const list = button.closest(".examples");
  const top = button.offsetTop - list.offsetTop;
  if (top < list.scrollTop || top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
}

function exampleView(number) {
  const example = report.listen.examples[number];
  const { player } = listen;
  const play = h("button", { type: "button", class: "play", onclick: () => player.toggle() });
  const time = h("span", { class: "time" });
  const slider = h("input", { type: "range", class: "seek", min: "0", max: String(player.duration), step: "0.01", value: "0", "aria-label": "Position", oninput: () => player.seek(Number(slider.value)) });
  const loop = checkbox("Loop", player.loop, (checked) => (player.loop = checked));
  const rows = example.signals.map((signal, role) => roleRow(number, signal, role));
  const element = h(
    "div",
    {},
    h("div", { class: "title" }, h("h3", { class: "id" }, example.signal_id), h("span", { class: "muted" }, [example.groups.join(", "), ...labelsOf(example)].join(" · "))),
    exampleTable(example),
    h("div", { class: "transport" }, play, slider, time, loop),
    h("div", { class: "spectrograms", role: "radiogroup", "aria-label": "What is heard" }, rows.map(({ element: row }) => row), timeAxis(player.duration), colourBar(rows.length)),
    h("p", { class: "footnote" }, exampleRemarks(example)),
  );
  return { element, play, time, slider, rows, loop: loop.querySelector("input") };
}

function labelsOf(example) {
  const signal = signalOf(example);
  if (!signal) return [];
  return columnNames(example.dataset, "label", "fact")
    .map((name) => [name, valueOf(signal, name)])
    .filter(([, value]) => value !== "" && !Number.isNaN(value))
    .map(([name, value]) => `${name} ${typeof value === "number" ? tick(value) : value}`);
}

function exampleTable(example) {
  const signal = signalOf(example);
  const metrics = signal ? metricNames(example.dataset) : [];
  if (!metrics.length) return null;
  const decimals = metrics.map((name) => decimalsFor([...experiments.map((_, index) => valueOf(signal, name, index)), valueOf(signal, `${name}_noisy`)]));
  const row = (label, values, reasons = []) =>
    h("tr", {}, h("th", { scope: "row" }, label), values.map((value, index) => h("td", { class: "number", title: reasons[index] }, reasons[index] && Number.isNaN(value) ? `${DASH} ${reasons[index]}` : format(value, decimals[index]))));
  const paired = metrics.some((name) => hasInput(example.dataset, name));
  return scrolling(
    "Scores of this signal",
    h(
      "table",
      { class: "numbers compact" },
      h("thead", {}, h("tr", {}, h("th"), metrics.map((name) => h("th", { scope: "col", class: "number" }, metricName(name))))),
      h(
        "tbody",
        {},
        paired ? row("noisy", metrics.map((name) => valueOf(signal, `${name}_noisy`))) : null,
        experiments.map((one, index) => row(experiments.length > 1 ? one.name : "enhanced", metrics.map((name) => valueOf(signal, name, index)), metrics.map((name) => reasonOf(signal, name, index)))),
      ),
    ),
  );
}

const roleName = (role) => {
  const number = /^enhanced (\d+)$/.exec(role)?.[1];
  return number ? experiments[number - 1].name : role;
};

const greatestFrequency = () => Math.max(...report.listen.examples.flatMap(({ signals }) => signals.map((signal) => signal.sample_rate))) / 2;

function roleRow(number, signal, role) {
  const { player } = listen;
  const radio = h("input", { type: "radio", name: "role", value: String(role), onchange: () => player.select(role) });
  const image = h("img", { src: `data:image/png;base64,${soundOf(number)[role].spectrogram}`, alt: `Spectrogram of ${roleName(signal.role)}`, draggable: "false" });
  image.style.width = `${(100 * signal.seconds) / player.duration}%`;
  image.style.height = `${(100 * signal.sample_rate) / 2 / greatestFrequency()}%`;
  const cursor = h("span", { class: "cursor" });
  const plot = h("div", { class: "picture" }, image, cursor);
  const seek = (event) => player.seek(((event.clientX - plot.getBoundingClientRect().left) / plot.clientWidth) * player.duration);
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    seek(event);
  });
  plot.addEventListener("pointermove", (event) => plot.hasPointerCapture(event.pointerId) && seek(event));
  const levels = signal.rms_dbfs === null ? ["silent"] : [`${format(signal.rms_dbfs, 1)} dBFS`, `peak ${format(signal.peak_dbfs, 1, true)}`];
  const label = h("label", { class: "role" }, radio, h("kbd", {}, String(role + 1)), h("span", { class: "name" }, breakable(roleName(signal.role))), h("span", { class: "level" }, levels.map((text) => h("span", {}, text))));
  const element = h("div", { class: "row" }, label, frequencyAxis(), plot);
  return { element, radio, cursor };
}

function frequencyAxis() {
  const most = greatestFrequency() / 1000;
  const step = niceStep(most, 4);
  const ticks = [];
  for (let value = 0; value <= most + 1e-9; value += step) {
    const mark = h("span", {}, value === 0 ? "0" : Number(value.toPrecision(3)) + (value + step > most + 1e-9 ? " kHz" : ""));
    mark.style.bottom = `${(100 * value) / most}%`;
    ticks.push(mark);
  }
  return h("div", { class: "frequencies", "aria-hidden": "true" }, ticks);
}

function timeAxis(duration) {
  const step = niceStep(duration, 8);
  const ticks = [];
  for (let value = 0; value <= duration * 0.97; value += step) {
    const mark = h("span", {}, value === 0 ? "0" : `${Number(value.toPrecision(3))} s`);
    mark.style.left = `${(100 * value) / duration}%`;
    ticks.push(mark);
  }
  return h("div", { class: "row times", "aria-hidden": "true" }, h("div", { class: "ticks" }, ticks));
}

function colourBar(numRows) {
  const { colourBar: picture, floor } = report.listen;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((place) => {
    const mark = h("span", {}, `${format(floor * place, 0)}${place === 0 ? " dB" : ""}`);
    mark.style.top = `${100 * place}%`;
    return mark;
  });
  const bar = h("div", { class: "colours", role: "img", "aria-label": `Colours: 0 dB, a full-scale sine, is lightest, and ${floor} dB darkest` }, h("img", { src: `data:image/png;base64,${picture}`, alt: "" }), h("div", { class: "ticks", "aria-hidden": "true" }, ticks));
  bar.style.gridRow = `1 / span ${numRows}`;
  return bar;
}

function exampleRemarks(example) {
  const { maxSeconds } = report.listen;
  const [first] = example.signals;
  const cut = example.signals.filter((signal) => signal.full_seconds > signal.seconds + 1e-6);
  const bad = example.signals.filter((signal) => signal.num_nonfinite);
  return [
    example.gain_db < 0
      ? `A signal exceeds full scale: all of this example are turned down by one common gain of ${format(example.gain_db, 1)} dB. `
      : "Levels are as in the files. ",
    `Colours run from ${format(report.listen.floor, 0)} dB to 0 dB, a full-scale sine, for all. ${grouped(first.sample_rate)} Hz${first.num_channels > 1 ? `, ${first.num_channels} channels` : ""}, 16 bit. `,
    cut.length ? `Cut to the first ${maxSeconds} s of ${short(Math.max(...cut.map((signal) => signal.full_seconds)))} s. ` : "",
    bad.map((signal) => `${roleName(signal.role)} has ${signal.num_nonfinite} samples that are NaN or infinite; they are played as silence. `).join(""),
  ].join("");
}

function updateListen() {
  const { view, player } = listen;
  if (!view) return;
  view.play.replaceChildren(icon(player.playing ? PAUSE : PLAY), h("span", {}, player.playing ? "Pause" : "Play"));
  view.rows.forEach(({ radio, element }, role) => {
    radio.checked = role === player.role;
    element.classList.toggle("heard", role === player.role);
  });
  moveCursor();
  if (player.playing && !listen.moving) {
    listen.moving = true;
    requestAnimationFrame(followCursor);
  }
}

function followCursor() {
  listen.moving = listen.player.playing;
  moveCursor();
  if (listen.moving) requestAnimationFrame(followCursor);
}

function moveCursor() {
  const { view, player } = listen;
  const { position, duration } = player;
  view.rows.forEach(({ cursor }) => (cursor.style.left = `${(100 * position) / duration}%`));
  view.slider.value = String(position);
  view.slider.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  view.time.textContent = `${position.toFixed(2)} / ${duration.toFixed(2)} s`;
}

function step(by) {
  const place = listen.order.indexOf(listen.current);
  const next = listen.order[place + by];
  if (next === undefined) return;
  const wasPlaying = listen.player.playing;
  showExample(next);
  if (wasPlaying) listen.player.play();
}

// Keys work where the player is in sight or playing, and never where something is typed.
function listenKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !isListening()) return;
  const isRole = target.type === "radio";
  if (!isRole && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
  const isArrow = key === "ArrowLeft" || key === "ArrowRight";
  if (isRole && isArrow) return; // the browser moves from role to role
  if (key === " " && /^(BUTTON|SUMMARY|A)$/.test(target.tagName)) return;
  if (isArrow && target.closest(".scrolling")) return;
  const { player } = listen;
  const actions = {
    " ": () => player.toggle(),
    ArrowLeft: () => player.seek(player.position - SEEK),
    ArrowRight: () => player.seek(player.position + SEEK),
    Home: () => player.seek(0),
    j: () => step(1),
    k: () => step(-1),
    l: () => (listen.view.loop.checked = player.loop = !player.loop),
  };
  const action = /^[1-9]$/.test(key) ? () => player.select(Number(key) - 1) : actions[key];
  if (!action || (key === "Home" && !player.playing)) return;
  action();
  event.preventDefault();
}

function isListening() {
  const { top, bottom } = byId("listen").getBoundingClientRect();
  return listen.player.playing || (top < innerHeight * 0.75 && bottom > innerHeight * 0.25);
}

function listenTo(number) {
  showExample(number);
  (matchMedia("(max-width: 60rem)").matches ? listen.viewHost : byId("listen")).scrollIntoView();
  listen.player.play();
  listen.view.play.focus({ preventScroll: true });
}
