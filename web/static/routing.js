// The text with its routing: coloured spans, legend and table. All of it comes
// from the chunks that the engine reports.

const byId = (id) => document.getElementById(id);

const why = {
  default: "no text read yet: the default encoders",
  domain: "no text read yet: the encoders of the domain hint",
  kept: "the router kept its encoders",
  swapped: "the router changed an encoder",
};

// create returns an element with a class, text and children.
export function create(tag, className, text, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

export const nameOf = (use) => use.domain || `encoder ${use.encoder}`;
export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const reasonOf = (chunk) => why[chunk.reason] ?? chunk.reason;
export const tokensOf = (entry) => `${entry.chunk.start}–${entry.end - 1}`;
export const byWeight = (uses) => [...uses].sort((a, b) => b.weight - a.weight);

// hue spreads the encoders' numbers over the colour wheel.
const hue = (encoder) => (encoder * 137.508 + 195) % 360;

// Text is the prompt and the answer on the page. An entry is one chunk with its
// spans: {number, chunk, end, marks}; a chunk that began in the prompt and goes
// on in the answer has two.
export class Text {
  constructor() {
    this.prompt = byId("prompt-text");
    this.answer = byId("answer-text");
    this.clear();
  }

  clear() {
    this.entries = [];
    this.byStart = new Map();
    this.byMark = new WeakMap();
    this.position = 0; // tokens read and written
    this.answering = false;
    this.prompt.replaceChildren();
    this.answer.replaceChildren();
  }

  // start shows the prompt as sent, until its routing arrives.
  start(prompt) {
    this.clear();
    this.prompt.textContent = prompt;
  }

  // routing shows the chunks of the prompt.
  routing({ chunks }) {
    this.#take(chunks);
  }

  // token appends a token's text to the chunk that it belongs to.
  token({ text, token, chunks }) {
    this.answering = true;
    this.#take(chunks ?? []);
    const entry = this.entries.at(-1);
    if (token >= 0) this.position++;
    if (entry) entry.end = Math.max(entry.end, this.position);
    if (text === "") return;
    if (!entry) {
      this.answer.append(text);
      return;
    }
    entry.answer ??= this.#mark(entry, this.answer);
    entry.answer.append(text);
  }

  // finish moves the borders of the answer's spans to where the chunks end: text
  // is streamed late while a character or a stop string is incomplete.
  finish(chunks) {
    this.#take(chunks);
    const answer = this.answer.textContent;
    const whole = chunks.map((c) => c.text).join("");
    if (!this.entries.length || !whole.endsWith(answer)) return;
    let before = whole.length - answer.length; // text of the prompt still to come
    for (const chunk of chunks) {
      const entry = this.byStart.get(chunk.start);
      const part = chunk.text.slice(before);
      before = Math.max(0, before - chunk.text.length);
      if (part) entry.answer ??= this.#mark(entry, this.answer);
      if (entry.answer) entry.answer.textContent = part;
    }
  }

  // #take adds chunks, or replaces those with the same start.
  #take(chunks) {
    for (const chunk of chunks.filter((c) => c.encoders?.length)) {
      if (!this.entries.length) this.prompt.replaceChildren();
      let entry = this.byStart.get(chunk.start);
      if (!entry) {
        entry = { number: this.entries.length + 1, end: chunk.end, marks: [] };
        this.entries.push(entry);
        this.byStart.set(chunk.start, entry);
      }
      entry.chunk = chunk;
      entry.end = Math.max(entry.end, chunk.end);
      this.position = Math.max(this.position, this.answering ? 0 : chunk.end);
      if (chunk.prompt && !this.answering) {
        entry.prompt ??= this.#mark(entry, this.prompt);
        entry.prompt.textContent = chunk.text;
      }
      entry.marks.forEach((mark) => paint(mark, chunk));
    }
  }

  #mark(entry, parent) {
    const mark = create("mark");
    mark.tabIndex = parent.closest("#text").querySelector("mark") ? -1 : 0;
    mark.setAttribute("aria-describedby", "tip");
    entry.marks.push(mark);
    this.byMark.set(mark, entry);
    paint(mark, entry.chunk);
    parent.append(mark);
    return mark;
  }
}

// paint gives a span the colour of its strongest encoder, and below it a line
// divided by weight.
function paint(mark, chunk) {
  const uses = byWeight(chunk.encoders);
  let from = 0;
  const stops = uses.map((use) => {
    const to = from + 100 * use.weight;
    const stop = `oklch(var(--line) ${hue(use.encoder)}) ${from}% ${to}%`;
    from = to;
    return stop;
  });
  mark.style.setProperty("--hue", hue(uses[0].encoder));
  mark.style.setProperty("--shares", `linear-gradient(90deg, ${stops.join(", ")})`);
}

// swatch is a small square in an encoder's colour.
export function swatch(encoder) {
  const box = create("span", "swatch");
  box.style.setProperty("--hue", hue(encoder));
  return box;
}

// drawLegend lists the encoders of the text by their share of the weight.
export function drawLegend(list, entries) {
  const shares = new Map();
  let tokens = 0;
  for (const { chunk, end } of entries) {
    const length = end - chunk.start;
    tokens += length;
    for (const use of chunk.encoders) {
      const seen = shares.get(use.encoder) ?? { use, weight: 0 };
      seen.weight += use.weight * length;
      shares.set(use.encoder, seen);
    }
  }
  const sorted = [...shares.values()].sort((a, b) => b.weight - a.weight);
  list.replaceChildren(...sorted.map(({ use, weight }) =>
    create("li", "", undefined, swatch(use.encoder), `${nameOf(use)} `, create("span", "quiet", percent(weight / tokens)))));
}

// drawTable writes one row per chunk.
export function drawTable(body, entries) {
  body.replaceChildren(...entries.map((entry) => {
    const uses = create("ul");
    for (const use of byWeight(entry.chunk.encoders)) {
      uses.append(create("li", "", undefined, swatch(use.encoder), `${nameOf(use)} (${use.encoder}), ${percent(use.weight)}${use.changed ? ", new" : ""}`));
    }
    const number = create("th", "", entry.number);
    number.scope = "row";
    return create("tr", "", undefined, number,
      create("td", "", tokensOf(entry)), create("td", "", undefined, uses), create("td", "", reasonOf(entry.chunk)),
      create("td", "excerpt", entry.marks.map((mark) => mark.textContent).join("")));
  }));
}
