// What the server is asked: JSON both ways, and messages of JSON with pictures behind it.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(15000), ...options });
  if (answer.ok) return answer;
  let message = `${answer.status} ${answer.statusText}`;
  try {
    message = (await answer.json()).error ?? message;
  } catch {
    // A proxy in between may answer with anything.
  }
  throw new Refused(answer.status, message);
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function post(path, told) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(told) };
  return (await ask(path, options)).json();
}

// [message, blobs]: four bytes with the length of the JSON, the JSON, and what is behind it, by the lengths that `lengths` finds in it.
async function getPacked(path, lengths) {
  const bytes = await (await ask(path)).arrayBuffer();
  const size = new DataView(bytes).getUint32(0);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, size)));
  let place = 4 + size;
  const pictures = lengths(message).map((length) => {
    const blob = length ? new Blob([new Uint8Array(bytes, place, length)], { type: "image/jpeg" }) : null;
    place += length;
    return blob && createImageBitmap(blob);
  });
  return [message, await Promise.all(pictures)];
}

export function getFrames(wanted, width) {
  const streams = wanted.map(([sourceId, version]) => `stream=${sourceId}.${version}`).join("&");
  return getPacked(`/api/frames?width=${width}&${streams}`, (message) => message.frames.map((frame) => frame.bytes));
}

export function getTensors(sourceId) {
  return getPacked(`/api/streams/${sourceId}/tensors`, (message) => message.scores.map((map) => map.bytes));
}
