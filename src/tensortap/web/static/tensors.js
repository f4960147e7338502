// The tensor inspector: one frame's tensors in numbers, and the scores at each stride over the picture.

import { getTensors } from "./api.js";

const find = (id) => document.getElementById(id);
const [dialog, body, scores] = [find("tensors"), find("tensors-body"), find("scores")];

function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

function short(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(5)));
}

export class TensorInspector {
  constructor() {
    this.tile = null;
    this.scoreName = "";
    this.asked = 0;
    find("tensors-next").addEventListener("click", () => this.load());
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  open(tile) {
    this.tile = tile;
    find("tensors-title").textContent = `Tensors of ${tile.name}`;
    body.replaceChildren();
    scores.hidden = true;
    dialog.showModal();
    this.load();
  }

  async load() {
    const asked = ++this.asked;
    find("tensors-about").textContent = "Waiting for a frame …";
    find("tensors-error").textContent = "";
    find("tensors-next").disabled = true;
    try {
      const [found, pictures] = await getTensors(this.tile.sourceId);
      if (asked === this.asked) this.show(found, pictures);
    } catch (error) {
      if (asked !== this.asked) return;
      find("tensors-about").textContent = "";
      find("tensors-error").textContent = error.message;
    } finally {
      if (asked === this.asked) find("tensors-next").disabled = false;
    }
  }

  show(found, pictures) {
    const about = [`frame ${found.index}, ${found.size_wh.join(" × ")}, network input ${found.network_wh.join(" × ")}`];
    if (found.verdict) about.push(found.verdict);
    if (!found.has_picture) about.push("the frame's pixels are not to be had here");
    find("tensors-about").textContent = about.join(" · ");
    body.replaceChildren(...found.tensors.map(tensorCard));
    for (const canvas of body.querySelectorAll("canvas")) drawBars(canvas);
    scores.hidden = !found.scores.length;
    if (!found.scores.length) return;
    const tabs = found.scores.map((map, index) => {
      const tab = element("button", map.name);
      tab.type = "button";
      tab.addEventListener("click", () => this.pick(found.scores, pictures, index));
      return tab;
    });
    find("scores-tabs").replaceChildren(...tabs);
    const before = found.scores.findIndex((map) => map.name === this.scoreName);
    this.pick(found.scores, pictures, before < 0 ? liveliest(found.scores) : before);
  }

  pick(maps, pictures, index) {
    this.scoreName = maps[index].name;
    [...find("scores-tabs").children].forEach((tab, place) => tab.setAttribute("aria-pressed", place === index));
    find("scores-caption").textContent = maps[index].caption;
    const canvas = find("scores-picture");
    [canvas.width, canvas.height] = [pictures[index].width, pictures[index].height];
    canvas.getContext("2d").drawImage(pictures[index], 0, 0);
    canvas.setAttribute("aria-label", `Scores over the picture, ${maps[index].caption}`);
  }
}

// The map with most cells above the threshold is the one to begin with.
function liveliest(maps) {
  const above = maps.map((map) => Number(map.caption.match(/(\d+) above/)?.[1] ?? 0));
  return above.indexOf(Math.max(...above));
}

function tensorCard(tensor) {
  const card = element("article", "", "tensor");
  const title = element("h3", tensor.name);
  title.append(element("span", `${tensor.shape.join(" × ")} ${tensor.dtype}`));
  const list = document.createElement("dl");
  const numbers = { min: tensor.min, mean: tensor.mean, max: tensor.max, NaN: tensor.nans, infinite: tensor.infinities, zeros: tensor.zeros };
  for (const [name, value] of Object.entries(numbers)) {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", short(value), (name === "NaN" || name === "infinite") && value ? "odd" : ""));
    list.append(pair);
  }
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.counts = tensor.histogram;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Histogram of ${tensor.name}: ${tensor.histogram.join(", ")}`);
  const scale = document.createElement("figcaption");
  scale.append(element("span", short(tensor.min)), element("span", "log. heights"), element("span", short(tensor.max)));
  figure.append(canvas, scale);
  card.append(title, figure, list);
  return card;
}

// Every bar that is not empty is to be seen, so heights go by the logarithm.
function drawBars(canvas) {
  const density = Math.min(window.devicePixelRatio || 1, 2);
  [canvas.width, canvas.height] = [canvas.clientWidth * density, canvas.clientHeight * density];
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  const most = Math.log1p(Math.max(...canvas.counts, 1));
  const width = canvas.width / canvas.counts.length;
  canvas.counts.forEach((count, index) => {
    const height = count ? Math.max(2, (Math.log1p(count) / most) * canvas.height) : 0;
    context.fillRect(index * width + 1, canvas.height - height, width - 2, height);
  });
}
