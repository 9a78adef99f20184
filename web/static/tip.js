// The details of one chunk, on hover and on keyboard focus. The text is a single
// tab stop; arrow keys, Home and End move between its spans.

import { byWeight, create, nameOf, percent, reasonOf, swatch, tokensOf } from "./routing.js";

export class Tip {
  constructor(tip, area, text) {
    Object.assign(this, { tip, area, text, mark: null });
    area.addEventListener("pointerover", (e) => this.#over(e));
    area.addEventListener("pointerout", (e) => this.#out(e));
    tip.addEventListener("pointerleave", (e) => this.#out(e));
    area.addEventListener("focusin", (e) => this.#show(e.target.closest("mark")));
    area.addEventListener("focusout", () => this.hide());
    area.addEventListener("keydown", (e) => this.#key(e));
    area.addEventListener("scroll", () => this.#place());
    document.addEventListener("keydown", (e) => e.key === "Escape" && this.hide());
    window.addEventListener("scroll", () => this.#place(), { passive: true });
    window.addEventListener("resize", () => this.hide());
  }

  hide() {
    this.tip.hidden = true;
    this.mark = null;
  }

  // refresh redraws the open details after their chunk grew.
  refresh() {
    if (this.mark) this.#show(this.mark);
  }

  #over(event) {
    const mark = event.target.closest("mark");
    this.at = event;
    if (mark) this.#show(mark, event);
  }

  // #out keeps the details while the pointer is on them or on a focused span.
  #out(event) {
    const to = event.relatedTarget;
    if (to && (this.tip.contains(to) || this.mark?.contains(to))) return;
    const focused = document.activeElement?.closest("#text mark");
    if (focused) this.#show(focused);
    else this.hide();
  }

  #show(mark) {
    const entry = mark && this.text.byMark.get(mark);
    if (!entry) return;
    this.mark = mark;
    const list = create("ul");
    for (const use of byWeight(entry.chunk.encoders)) {
      const bar = create("span", "bar");
      bar.style.setProperty("--weight", `${100 * use.weight}%`);
      bar.append(swatch(use.encoder));
      list.append(create("li", "", undefined,
        create("span", "who", nameOf(use), create("span", "quiet", ` encoder ${use.encoder}${use.changed ? ", new here" : ""}`)),
        create("span", "weight", percent(use.weight)), bar));
    }
    this.tip.replaceChildren(
      create("p", "", undefined, create("strong", "", `Chunk ${entry.number}`), `, tokens ${tokensOf(entry)}`),
      list, create("p", "quiet", reasonOf(entry.chunk)));
    this.tip.hidden = false;
    this.#place();
  }

  // #place puts the details below the span's line, or above it where there is no
  // room, and inside the window.
  #place() {
    if (!this.mark) return;
    const view = this.area.getBoundingClientRect();
    const lines = [...this.mark.getClientRects()].filter((r) => r.bottom > view.top && r.top < view.bottom);
    if (!lines.length) {
      this.hide();
      return;
    }
    const line = lines.find((r) => this.at && r.top <= this.at.clientY && this.at.clientY <= r.bottom) ?? lines[0];
    const box = this.tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(line.left, document.documentElement.clientWidth - box.width - 8));
    const below = line.bottom + box.height + 8 < window.innerHeight;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${below ? line.bottom : Math.max(0, line.top - box.height)}px`;
  }

  #key(event) {
    const marks = [...this.area.querySelectorAll("mark")];
    const here = marks.indexOf(document.activeElement);
    const steps = { ArrowLeft: here - 1, ArrowUp: here - 1, ArrowRight: here + 1, ArrowDown: here + 1, Home: 0, End: marks.length - 1 };
    const next = marks[steps[event.key]];
    if (here < 0 || !next) return;
    event.preventDefault();
    marks[here].tabIndex = -1;
    next.tabIndex = 0;
    this.at = null;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    this.#show(next);
  }
}
