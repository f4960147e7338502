// The page: asks for the state once a second, and for pictures of the tiles in view as fast as it draws them.

import { get, getFrames } from "./api.js";
import { Controls } from "./controls.js";
import { PersonPanel } from "./person.js";
import { TensorInspector } from "./tensors.js";
import { Tile, rateText } from "./tiles.js";

const STATE_MILLISECONDS = 1000;
const FRAME_MILLISECONDS = 1000 / 15;
const AGAIN_MILLISECONDS = 1000;

const find = (id) => document.getElementById(id);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
// Comes never while the tab is in the background, which is all that it takes to be sent nothing then.
const nextPaint = () => new Promise((resolve) => requestAnimationFrame(resolve));

const tiles = new Map();
const look = { names: [], edges: [], least: 0.4, isPicked: () => false };
let run = null;
let refreshed = Promise.resolve();

const redraw = () => tiles.forEach((tile) => {
  tile.draw(look);
  if (tile.frame) tile.showChips(look);
});
const person = new PersonPanel(look, redraw);
look.isPicked = (tile, each) => person.isPicked(tile, each);
const inspector = new TensorInspector();
const controls = new Controls(look, { changed: redraw, refresh, failed });
const on = {
  person: (tile, each) => person.open(tile, each),
  tensors: (tile) => inspector.open(tile),
  remove: (tile) => controls.askToRemove(tile, run),
};
const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const tile = tiles.get(Number(target.dataset.source));
    if (tile) tile.inView = isIntersecting;
  }
}, { rootMargin: "100px" });

function failed(error) {
  if (error.status === 401) location.reload();
  document.body.classList.toggle("gone", !error.status);
  find("link").textContent = error.status ? error.message : "The run is over or cannot be reached. Trying again …";
}

function tell(state) {
  run = state;
  [look.names, look.edges] = [state.keypoints, state.edges];
  find("link").textContent = "";
  document.body.classList.remove("gone");
  const engine = state.engine_ms === null ? state.engine : `${state.engine}, ${state.engine_ms.toFixed(1)} ms a batch`;
  find("run").textContent = `${state.model} · ${state.decoder} on ${engine} · ${rateText(state.frame_rate)} frames/s`;
  document.title = `tensortap: ${state.streams.length} ${state.streams.length === 1 ? "stream" : "streams"}`;
  const known = new Set(state.streams.map((stream) => stream.source_id));
  for (const [sourceId, tile] of tiles) {
    if (known.has(sourceId)) continue;
    person.forget(tile);
    inView.unobserve(tile.element);
    tile.close();
    tiles.delete(sourceId);
  }
  for (const stream of state.streams) {
    if (!tiles.has(stream.source_id)) {
      const tile = new Tile(stream.source_id, on);
      tiles.set(stream.source_id, tile);
      find("tiles").append(tile.element);
      inView.observe(tile.element);
    }
    tiles.get(stream.source_id).tell(stream, state);
  }
  find("tiles").classList.toggle("one", tiles.size === 1);
  find("empty").hidden = tiles.size > 0;
  controls.tell(state);
}

function refresh() {
  refreshed = get("/api/state").then(tell, failed);
  return refreshed;
}

async function watchState() {
  for (;;) {
    await nextPaint();
    await refresh();
    await wait(STATE_MILLISECONDS);
  }
}

async function watchFrames() {
  for (;;) {
    await nextPaint();
    const began = performance.now();
    const wanted = [...tiles.values()].filter((tile) => tile.inView);
    if (!wanted.length) {
      await wait(100);
      continue;
    }
    try {
      const density = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(...wanted.map((tile) => Math.round(tile.parts.canvas.clientWidth * density)));
      const [message, pictures] = await getFrames(wanted.map((tile) => [tile.sourceId, tile.version]), width);
      message.frames.forEach((frame, index) => {
        const tile = tiles.get(frame.source_id);
        if (!tile) return;
        tile.show(frame, pictures[index], look);
        person.update(tile);
      });
    } catch (error) {
      failed(error);
      await wait(AGAIN_MILLISECONDS);
    }
    await wait(Math.max(0, FRAME_MILLISECONDS - (performance.now() - began)));
  }
}

// The token stands in the address only once; the browser keeps a cookie instead.
if (location.search) history.replaceState(null, "", "/");
window.addEventListener("resize", redraw);
watchState();
watchFrames();
