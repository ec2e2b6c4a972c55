// Building blocks of the page. Text is always set as text, so that nothing in an id or a setting is read as HTML.

function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);

const readJson = (id) => JSON.parse(byId(id).textContent);

function icon(path, size = 14) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [["viewBox", "0 0 16 16"], ["width", size], ["height", size], ["aria-hidden", "true"]])
    svg.setAttribute(name, value);
  shape.setAttribute("d", path);
  shape.setAttribute("fill", "currentColor");
  svg.append(shape);
  return svg;
}

const PLAY = "M4 2 L14 8 L4 14 Z";
const PAUSE = "M3 2 H6.5 V14 H3 Z M9.5 2 H13 V14 H9.5 Z";

// Text in which words that are longer may be broken after each "_", "-" and "/".
function breakable(text, longest = 0) {
  return text.split(/(?<= )/).flatMap((word) => (word.length > longest ? word.split(/(?<=[_\-/])/).flatMap((part) => [part, h("wbr")]) : [word]));
}

function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);
}

function choice(label, options, value, onchange) {
  const select = h(
    "select",
    { onchange: () => onchange(select.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
  );
  return h("label", { class: "control" }, h("span", {}, label), select);
}

function checkbox(label, checked, onchange) {
  const box = h("input", { type: "checkbox", checked, onchange: () => onchange(box.checked) });
  return h("label", { class: "control" }, box, h("span", {}, label));
}

// A wide table scrolls in its own box, which the keyboard can reach, and the page does not.
function scrolling(label, content) {
  return h("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": label }, content);
}

function copyable(text, label = "command") {
  const status = h("span", { class: "copied", role: "status" });
  const button = h("button", { type: "button", class: "quiet copy", "aria-label": `Copy the ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    status.textContent = (await copy(text)) ? "copied" : "select and copy it yourself";
    setTimeout(() => (status.textContent = ""), 2000);
  });
  return h("div", { class: "command" }, h("pre", { tabindex: "0", "aria-label": label }, h("code", {}, text)), h("div", { class: "copying" }, status, button));
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
