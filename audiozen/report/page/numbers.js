// Numbers: as the data has them (null is NaN, "inf" an infinity), and as people read them.

const DASH = "–";

function toNumber(value) {
  if (value === null || value === undefined) return NaN;
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return value;
}

// Decimals that give the greatest of the values four digits.
function decimalsFor(values) {
  const greatest = values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  if (greatest === 0) return 2;
  return Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(greatest))));
}

function format(value, decimals, sign = false) {
  if (Number.isNaN(value)) return DASH;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const digits = size !== 0 && (size >= 1e7 || size < 0.5 * 10 ** -decimals && size < 1e-6) ? size.toExponential(2) : size.toFixed(decimals);
  const prefix = Number(digits) === 0 ? "" : value < 0 ? "−" : sign ? "+" : "";
  return prefix + digits;
}

const short = (value) => format(value, decimalsFor([value]));

// At most three digits that count: 0.0042, 32, 9.87.
function brief(value) {
  if (!Number.isFinite(value)) return format(value, 0);
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

// 2800000 as "2.80 M".
function large(value) {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [factor, letter] = units.find(([size]) => Math.abs(value) >= size) ?? [1, ""];
  return factor === 1 ? String(value) : `${(value / factor).toPrecision(3)} ${letter}`;
}

const grouped = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");

const finite = (values) => values.filter(Number.isFinite);

const defined = (values) => values.filter((value) => !Number.isNaN(value));

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);

function quantile(sorted, fraction) {
  const place = (sorted.length - 1) * fraction;
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

// Steps between ticks: 1, 2 or 5 times a power of ten, so that there are about so many.
function niceStep(range, count) {
  const rough = range / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= rough * 0.999);
}
