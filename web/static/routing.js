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
export const tokensOf = ({ chunk }) => `${chunk.start}–${chunk.end - 1}`;
export const byWeight = (uses) => [...uses].sort((a, b) => b.weight - a.weight);

// hue spreads the encoders' numbers over the colour wheel.
const hue = (encoder) => (encoder * 137.508 + 195) % 360;

// Text is the prompt and the answer on the page. An entry is one chunk with its
// spans: {number, chunk, head, drawn, prompt, answer}, where head and drawn count
// the characters in the prompt's and the answer's span. A chunk that began in the prompt and goes on in the
// answer has two spans. The end of the answer that no chunk covers yet, while it is
// written, has none.
export class Text {
  constructor() {
    this.prompt = byId("prompt-text");
    this.answer = byId("answer-text");
    this.tail = document.createTextNode("");
    this.start("");
  }

  // start shows the prompt as sent, until its routing arrives.
  start(prompt) {
    this.entries = [];
    this.byStart = new Map();
    this.byMark = new WeakMap();
    this.written = ""; // the answer so far
    this.prompt.textContent = prompt;
    this.tail.data = "";
    this.answer.replaceChildren(this.tail);
  }

  // routing takes the chunks of the prompt.
  routing({ chunks }) {
    for (const entry of this.take(chunks)) {
      if (!entry.prompt) {
        if (entry.number === 1) this.prompt.replaceChildren();
        entry.prompt = this.#mark(entry);
        this.prompt.append(entry.prompt);
      }
      entry.prompt.textContent = entry.chunk.text;
      entry.head = entry.chunk.text.length;
      paint(entry.prompt, entry.chunk);
    }
  }

  // token takes an answer's text and the chunks that began or grew.
  token({ text, chunks }) {
    this.written += text;
    this.take(chunks ?? []);
  }

  // take adds chunks, or replaces those with the same start, and returns their
  // entries. A plain model's chunks name no encoders and are left out.
  take(chunks) {
    return chunks.filter((c) => c.encoders?.length).map((chunk) => {
      let entry = this.byStart.get(chunk.start);
      if (!entry) {
        entry = { number: this.entries.length + 1, head: 0 };
        this.entries.push(entry);
        this.byStart.set(chunk.start, entry);
      }
      entry.chunk = chunk;
      entry.drawn = 0;
      return entry;
    });
  }

  // draw divides the answer among its chunks by the length of their text; a
  // stop string that is cut off or may still come is in a chunk, not in the
  // answer. Spans that are drawn already are left alone.
  draw() {
    let at = 0;
    for (const entry of this.entries) {
      const end = at + entry.chunk.text.length - entry.head;
      const part = Math.min(end, this.written.length) - at;
      if (part > 0 && part !== entry.drawn) {
        entry.drawn = part;
        this.#fill(entry, this.written.slice(at, at + part));
      }
      at = end;
    }
    const rest = this.written.slice(at);
    if (this.tail.data !== rest) this.tail.data = rest;
  }

  #fill(entry, text) {
    if (!entry.answer) {
      entry.answer = this.#mark(entry);
      this.tail.before(entry.answer);
    }
    entry.answer.textContent = text;
    paint(entry.answer, entry.chunk);
  }

  #mark(entry) {
    const mark = create("mark");
    mark.tabIndex = entry.number === 1 && !entry.prompt ? 0 : -1;
    mark.setAttribute("aria-describedby", "tip");
    this.byMark.set(mark, entry);
    return mark;
  }
}

// paint gives a span the colour of the strongest encoder that the router chose, and
// below it a line divided by weight.
function paint(mark, chunk) {
  const uses = byWeight(chunk.encoders);
  let from = 0;
  const stops = uses.map((use) => {
    const to = from + 100 * use.weight;
    const stop = `oklch(var(--line) ${hue(use.encoder)}) ${from}% ${to}%`;
    from = to;
    return stop;
  });
  mark.style.setProperty("--hue", hue((uses.find((use) => !use.always) ?? uses[0]).encoder));
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
  for (const { chunk } of entries) {
    const length = chunk.end - chunk.start;
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
      create("td", "excerpt", entry.chunk.text));
  }));
}
