// Elements, drawing once per frame, and lists of what is newest. Whatever comes in records goes into a page as text.

export const $ = (id) => document.getElementById(id);

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Calls `part` once in the next frame, however often it is asked for.
const asked = new Set();

export function draw(part) {
  if (asked.size === 0) requestAnimationFrame(drawAsked);
  asked.add(part);
}

function drawAsked() {
  const parts = [...asked];
  asked.clear();
  for (const part of parts) part();
}

// A list that shows the newest `most` of what is added, at its end or at its start.
export class Tape {
  constructor(list, most, { isNewestFirst = false } = {}) {
    Object.assign(this, { list, most, isNewestFirst, waiting: [], drawn: () => this.draw() });
  }

  add(make) {
    this.waiting.push(make);
    if (this.waiting.length > 2 * this.most) this.waiting.splice(0, this.waiting.length - this.most);
    draw(this.drawn);
  }

  draw() {
    const { list, most } = this;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
    const made = this.waiting.slice(-most).map((make) => make());
    this.waiting = [];
    if (this.isNewestFirst) list.prepend(...made.reverse());
    else list.append(...made);
    while (list.childElementCount > most) (this.isNewestFirst ? list.lastElementChild : list.firstElementChild).remove();
    if (!this.isNewestFirst && isAtEnd) list.scrollTop = list.scrollHeight;
  }
}
