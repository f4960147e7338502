// One tile for each stream: the picture with its people, how the stream is, and what can be done with it.

import { colorOf, drawFrame, personAt } from "./draw.js";

const CHIP_MILLISECONDS = 300;
const template = document.getElementById("tile");

export function rateText(rate) {
  return rate < 10 ? rate.toFixed(1) : Math.round(rate).toString();
}

function ago(since, now) {
  const seconds = Math.max(0, Math.round((now - since) / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export class Tile {
  // `on` has: person(tile, person), tensors(tile), remove(tile).
  constructor(sourceId, on) {
    this.sourceId = sourceId;
    this.frame = null;
    this.picture = null;
    this.version = 0;
    this.inView = true;
    this.stream = null;
    this.chipsAt = 0;
    this.element = template.content.cloneNode(true).querySelector("article");
    this.element.dataset.source = sourceId;
    this.parts = Object.fromEntries(
      ["h2", ".since", ".state", ".view", "canvas", ".note", ".people", ".to-tensors", ".to-remove"].map((name) => [name.replace(".", ""), this.element.querySelector(name)]),
    );
    this.numbers = Object.fromEntries([...this.element.querySelectorAll("[data-number]")].map((each) => [each.dataset.number, each]));
    this.parts.canvas.addEventListener("click", (event) => {
      const person = this.frame && personAt(this.parts.canvas, this.frame, event.offsetX, event.offsetY);
      if (person) on.person(this, person);
      else on.tensors(this);
    });
    this.parts["to-tensors"].addEventListener("click", () => on.tensors(this));
    this.parts["to-remove"].addEventListener("click", () => on.remove(this));
    this.parts.people.addEventListener("click", (event) => {
      const chip = event.target.closest("button");
      const person = chip && this.frame?.people.find((each) => each === chip.person || (each.track_id >= 0 && each.track_id === chip.person.track_id));
      if (chip) on.person(this, person ?? chip.person);
    });
  }

  get name() {
    return this.stream?.name ?? "";
  }

  // What the server says once a second.
  tell(stream, run) {
    this.stream = stream;
    const { parts, numbers } = this;
    parts.h2.textContent = parts.h2.title = stream.name;
    parts.state.textContent = stream.state;
    parts.state.className = `state ${stream.state}`;
    numbers.rate.textContent = rateText(stream.frame_rate);
    numbers.people.textContent = stream.state === "online" ? stream.people : "–";
    numbers.dropped.textContent = stream.dropped;
    numbers.dropped.title = `${stream.reconnects} reconnects, ${stream.damaged} damaged packets, ${stream.pictures_passed_over} frames not shown here`;
    numbers.latency.textContent = stream.p50_ms === null ? "–" : `${Math.round(stream.p50_ms)} / ${Math.round(stream.p95_ms)} ms`;
    parts["to-tensors"].setAttribute("aria-label", `Tensors of ${stream.name}`);
    parts["to-remove"].setAttribute("aria-label", `Remove ${stream.name}`);
    parts["to-remove"].hidden = !run.gives_streams;
    this.tellState();
  }

  tellState() {
    const { stream, parts } = this;
    const isUp = stream.state === "online";
    this.element.classList.toggle("old", !isUp);
    const since = stream.since_ms ? new Date(stream.since_ms) : null;
    parts.since.textContent = isUp && since ? ago(since, Date.now()) : "";
    parts.since.title = parts.state.title = since ? `since ${since.toLocaleString()}` : "";
    const lines = [];
    if (!isUp) {
      lines.push(since ? `${stream.state} since ${since.toLocaleTimeString()} (${ago(since, Date.now())})` : stream.state, stream.reason);
    } else if (this.frame && !this.frame.bytes) {
      lines.push("no pixels come with these frames: people only", "");
    } else if (!this.frame) {
      lines.push("waiting for a picture", "");
    }
    parts.note.hidden = !lines.length;
    parts.note.classList.toggle("slim", isUp && Boolean(this.frame));
    const text = lines.join("\n");
    if (parts.note.dataset.text !== text) {
      parts.note.dataset.text = text;
      const strong = document.createElement("b");
      strong.textContent = lines[0] ?? "";
      parts.note.replaceChildren(strong, lines[1] ?? "");
    }
  }

  // A new frame: picture and people belong together.
  show(frame, picture, look) {
    this.picture?.close();
    [this.frame, this.picture, this.version] = [frame, picture, frame.version];
    this.parts.view.style.aspectRatio = `${frame.size_wh[0]} / ${frame.size_wh[1]}`;
    this.draw(look);
    if (this.stream) this.tellState();
    if (performance.now() - this.chipsAt > CHIP_MILLISECONDS) this.showChips(look);
  }

  draw(look) {
    if (this.frame) drawFrame(this.parts.canvas, this.frame, this.picture, { ...look, isPicked: (person) => look.isPicked(this, person) });
  }

  // A button for each person, for keyboards and screen readers; those who stay keep theirs, and the focus with it.
  showChips(look) {
    this.chipsAt = performance.now();
    const people = [...this.frame.people].sort((one, other) => one.track_id - other.track_id || other.score - one.score);
    const chips = this.parts.people;
    this.parts.canvas.setAttribute("aria-label", `${this.name}: ${people.length} ${people.length === 1 ? "person" : "people"}`);
    const old = new Map([...chips.children].map((chip) => [chip.dataset.key, chip]));
    let before = null;
    people.forEach((person, index) => {
      const key = person.track_id >= 0 ? `#${person.track_id}` : `${index + 1}.`;
      const chip = old.get(key) ?? Object.assign(document.createElement("button"), { type: "button" });
      old.delete(key);
      chip.dataset.key = key;
      chip.person = person;
      chip.textContent = `${key} ${person.score?.toFixed(2) ?? "?"}`;
      chip.style.setProperty("--mark", colorOf(person.track_id));
      chip.setAttribute("aria-pressed", look.isPicked(this, person));
      chip.setAttribute("aria-label", `Keypoints of person ${key}`);
      const place = before ? before.nextSibling : chips.firstChild;
      if (chip !== place) chips.insertBefore(chip, place);
      before = chip;
    });
    for (const chip of old.values()) chip.remove();
  }

  close() {
    this.picture?.close();
    this.element.remove();
  }
}
