// People drawn over a picture, in the colours of tensortap's own videos.

const LEFT = "rgb(56 178 255)";
const RIGHT = "rgb(255 128 48)";
const MIDDLE = "rgb(120 230 140)";
const RIM = "rgb(32 32 32)";
const PALETTE = [
  [76, 175, 80], [66, 133, 244], [234, 67, 54], [251, 188, 5], [171, 71, 188], [0, 172, 193],
  [255, 112, 67], [158, 157, 38], [240, 99, 153], [63, 120, 163], [233, 193, 107], [122, 122, 122],
];

export function colorOf(trackId) {
  return trackId < 0 ? "rgb(200 200 200)" : `rgb(${PALETTE[trackId % PALETTE.length].join(" ")})`;
}

function sideOf(name = "") {
  return name.startsWith("left") ? LEFT : name.startsWith("right") ? RIGHT : MIDDLE;
}

function limbColor(start, end) {
  if (start === end) return start;
  return start !== MIDDLE && end !== MIDDLE ? MIDDLE : end;
}

// Fit the canvas to its place on the screen, and say how many of its pixels one of the frame's is.
export function fit(canvas, sizeWh) {
  const density = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * density));
  const height = Math.max(1, Math.round((width * sizeWh[1]) / sizeWh[0]));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return width / sizeWh[0];
}

// A frame with its people. `look` says names and edges of the skeleton, the least score of keypoints, and who is picked.
export function drawFrame(canvas, frame, picture, look) {
  const scale = fit(canvas, frame.size_wh);
  const context = canvas.getContext("2d");
  if (picture) {
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = "#0a0d11";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.lineCap = context.lineJoin = "round";
  // The best person last, on top of the others.
  for (const person of [...frame.people].reverse()) drawPerson(context, person, scale, look);
  for (const person of [...frame.people].reverse()) drawBox(context, person, scale, look);
}

function drawPerson(context, person, scale, { names, edges, least }) {
  const [left, top, right, bottom] = person.box;
  const size = Math.max(bottom - top, 1.5 * (right - left), 1) * scale;
  const width = Math.max(1.5, Math.min(size / 75, context.canvas.height / 90));
  const points = person.keypoints.map(([x, y, score]) => (score !== null && score >= least && x !== null && y !== null ? [x * scale, y * scale] : null));
  for (const rim of [true, false]) {
    for (const [start, end] of edges) {
      if (!points[start] || !points[end]) continue;
      context.strokeStyle = rim ? RIM : limbColor(sideOf(names[start]), sideOf(names[end]));
      context.lineWidth = rim ? width + 2 : width;
      context.beginPath();
      context.moveTo(...points[start]);
      context.lineTo(...points[end]);
      context.stroke();
    }
  }
  points.forEach((point, index) => {
    if (!point) return;
    context.beginPath();
    context.arc(...point, Math.max(1.6, width * 0.95), 0, 2 * Math.PI);
    context.fillStyle = sideOf(names[index]);
    context.fill();
  });
}

function drawBox(context, person, scale, { isPicked }) {
  const [left, top, right, bottom] = person.box.map((value) => value * scale);
  const picked = isPicked(person);
  const color = colorOf(person.track_id);
  context.strokeStyle = picked ? "#fff" : color;
  context.lineWidth = picked ? 4 : Math.max(1.5, context.canvas.height / 400);
  context.strokeRect(left, top, right - left, bottom - top);
  const text = person.track_id < 0 ? (person.score?.toFixed(2) ?? "?") : `#${person.track_id}`;
  const letters = Math.max(11, context.canvas.height / 38);
  context.font = `600 ${letters}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + letters * 0.7;
  const x = Math.min(Math.max(left, 0), context.canvas.width - wide);
  const y = top >= letters * 1.4 ? top - letters * 1.4 : Math.max(0, top);
  context.fillStyle = color;
  context.fillRect(x, y, wide, letters * 1.4);
  const [red, green, blue] = color.match(/\d+/g).map(Number);
  context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 130 ? "#000" : "#fff";
  context.textBaseline = "middle";
  context.fillText(text, x + letters * 0.35, y + letters * 0.74);
}

// The smallest person at a place of the canvas, in CSS pixels; where there is nobody, whoever is right beside it.
export function personAt(canvas, frame, x, y) {
  const scale = frame.size_wh[0] / canvas.clientWidth;
  const [column, line, reach] = [x * scale, y * scale, 6 * scale];
  const area = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
  const within = (margin) => frame.people.filter(
    ({ box: [left, top, right, bottom] }) =>
      column >= left - margin && column <= right + margin && line >= top - margin && line <= bottom + margin,
  );
  const hit = within(0);
  return (hit.length ? hit : within(reach)).sort((one, other) => area(one) - area(other))[0] ?? null;
}
