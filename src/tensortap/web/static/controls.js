// Thresholds, adding and removing.

import { post } from "./api.js";

const find = (id) => document.getElementById(id);
const KEYPOINT_KEY = "tensortap keypoint score";
const HOLD_MILLISECONDS = 1500;

// Kept where the browser allows it.
function remembered() {
  try {
    return localStorage.getItem(KEYPOINT_KEY);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(KEYPOINT_KEY, value);
  } catch {
    // It is only for the next visit.
  }
}

// A slider that is moved says so at once; while it is being moved, the server's word does not move it.
class Slider {
  constructor(name, moved) {
    this.input = find(name);
    this.label = this.input.closest("label");
    this.output = this.label.querySelector("output");
    this.movedAt = -HOLD_MILLISECONDS;
    this.input.addEventListener("input", () => {
      this.movedAt = performance.now();
      this.say();
      moved(Number(this.input.value));
    });
  }

  say() {
    this.output.textContent = Number(this.input.value).toFixed(2);
  }

  tell(value) {
    this.label.hidden = value === null;
    if (value === null || performance.now() - this.movedAt < HOLD_MILLISECONDS) return;
    this.input.value = value;
    this.output.textContent = value.toFixed(2);
  }
}

// One request at a time, and the latest values win.
class Thresholds {
  constructor(failed) {
    this.failed = failed;
    this.wanted = {};
    this.busy = false;
  }

  async set(name, value) {
    this.wanted[name] = value;
    if (this.busy) return;
    this.busy = true;
    try {
      while (Object.keys(this.wanted).length) {
        const told = this.wanted;
        this.wanted = {};
        await post("/api/thresholds", told);
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
    }
  }
}

export class Controls {
  // `look.least` is set to the score from which keypoints are drawn; `changed` is called then; `refresh` when streams came or went.
  constructor(look, { changed, refresh, failed }) {
    this.refresh = refresh;
    const thresholds = new Thresholds(failed);
    this.sliders = ["conf_thres", "iou_thres"].map((name) => [name, new Slider(name, (value) => thresholds.set(name, value))]);
    const draw = new Slider("draw", (value) => {
      look.least = value;
      remember(value);
      changed();
    });
    look.least = Number(remembered() ?? look.least);
    draw.tell(look.least);
    find("thresholds").open = window.matchMedia("(min-width: 44.01rem)").matches;
    find("adding").open = find("thresholds").open;
    find("add").addEventListener("submit", (event) => this.add(event));
    find("removing-yes").addEventListener("click", () => this.remove());
    find("removing").querySelector(".close").addEventListener("click", () => find("removing").close());
  }

  tell(run) {
    for (const [name, slider] of this.sliders) slider.tell(run.thresholds[name]);
    find("adding").hidden = !run.takes_streams;
    if (!run.streams.length && run.takes_streams) find("adding").open = true;
  }

  async add(event) {
    event.preventDefault();
    const button = find("add").querySelector("button");
    button.disabled = true;
    find("add-error").textContent = "";
    try {
      await post("/api/streams", { address: find("address").value, name: find("name").value });
      find("add").reset();
      await this.refresh();
    } catch (error) {
      find("add-error").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  askToRemove(tile, run) {
    this.tile = tile;
    find("removing-title").textContent = `Remove ${tile.name}?`;
    const isLast = run.ends_with_last_stream && run.streams.length === 1;
    find("removing-hint").textContent = isLast
      ? "It is the last stream: the run ends with it, and so does this page."
      : "Outputs that hold nothing else are completed. It can be added again by its address.";
    find("removing-error").textContent = "";
    find("removing").showModal();
  }

  async remove() {
    try {
      await post(`/api/streams/${this.tile.sourceId}/remove`, {});
      find("removing").close();
      await this.refresh();
    } catch (error) {
      find("removing-error").textContent = error.message;
    }
  }
}
