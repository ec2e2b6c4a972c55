// The per-signal tables: signals by dataset, each with one record per experiment.

const signalCache = new Map();

// [{dataset, id, rows: [place in the table of each experiment]}], in the order of the tables.
function signalsOf(name) {
  if (!signalCache.has(name)) signalCache.set(name, joinSignals(name));
  return signalCache.get(name);
}

function joinSignals(name) {
  const signals = new Map();
  experiments.forEach((experiment, number) => {
    const seen = new Map();
    column(number, name, "id")?.values.forEach((id, row) => {
      const count = seen.get(id) ?? 0; // an id that stands in a table twice is two signals
      seen.set(id, count + 1);
      const key = JSON.stringify([id, count]);
      if (!signals.has(key)) signals.set(key, { dataset: name, id, rows: experiments.map(() => undefined) });
      signals.get(key).rows[number] = row;
    });
  });
  return [...signals.values()];
}

const columnCache = new Map();

function column(number, dataset, name) {
  const key = JSON.stringify([number, dataset]);
  if (!columnCache.has(key)) columnCache.set(key, new Map((datasetOf(experiments[number], dataset)?.columns ?? []).map((one) => [one.name, withNumbers(one)])));
  return columnCache.get(key).get(name);
}

function withNumbers(one) {
  return one.kind === "fact" || one.kind === "metric" ? { ...one, values: one.values.map(toNumber) } : one;
}

// Value of a signal in an experiment; of the first that knows it where none is named.
function valueOf(signal, name, number = null) {
  const numbers = number === null ? experiments.keys() : [number];
  for (const index of numbers) {
    const row = signal.rows[index];
    const found = row === undefined ? undefined : column(index, signal.dataset, name)?.values[row];
    if (found !== undefined) return found;
  }
  return NaN;
}

function reasonOf(signal, name, number = 0) {
  const row = signal.rows[number];
  return row === undefined ? undefined : column(number, signal.dataset, name)?.reasons[row];
}

function columnNames(dataset, ...kinds) {
  const names = experiments.flatMap((one) => (datasetOf(one, dataset)?.columns ?? []).filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name));
  return [...new Set(names)];
}

const metricNames = (dataset) => withoutPartners(columnNames(dataset, "metric"));

// Without the metrics of the input and the improvements: these are shown beside the metric of the output.
function withoutPartners(names) {
  const isPaired = (name) => names.includes(name) && names.includes(`${name}_noisy`);
  return names.filter((name) => !(isOfInput(name) && names.includes(name.slice(0, -6))) && !(name.endsWith("_i") && isPaired(name.slice(0, -2))));
}

const hasInput = (dataset, metric) => columnNames(dataset, "metric").includes(`${metric}_noisy`);

const allSignals = () => datasetNames().flatMap(signalsOf);

function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
