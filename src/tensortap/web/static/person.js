// The panel with one person's keypoints. A tracked person is followed; of others, the frame that was clicked stays.

const panel = document.getElementById("person");
const title = document.getElementById("person-title");
const about = document.getElementById("person-about");
const rows = document.getElementById("person-rows");
const UPDATE_MILLISECONDS = 200;

export class PersonPanel {
  constructor(look, changed) {
    this.look = look;
    this.changed = changed;
    this.tile = this.person = null;
    this.shownAt = 0;
    panel.querySelector(".close").addEventListener("click", () => this.close());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !panel.hidden && !document.querySelector("dialog[open]")) this.close();
    });
  }

  isPicked(tile, person) {
    if (tile !== this.tile || !this.person) return false;
    return person === this.person || (person.track_id >= 0 && person.track_id === this.person.track_id);
  }

  open(tile, person) {
    this.cameFrom = document.activeElement;
    [this.tile, this.person] = [tile, person];
    panel.hidden = false;
    this.show(true);
    title.focus({ preventScroll: true });
    // On a phone the panel covers the lower half of the page.
    if (panel.offsetWidth > window.innerWidth * 0.9) tile.element.scrollIntoView({ block: "start" });
    this.changed();
  }

  close() {
    panel.hidden = true;
    this.tile = this.person = null;
    if (this.cameFrom?.isConnected) this.cameFrom.focus({ preventScroll: true });
    this.changed();
  }

  // A tile has a new frame.
  update(tile) {
    if (tile !== this.tile || this.person.track_id < 0) return;
    const found = tile.frame.people.find((each) => each.track_id === this.person.track_id);
    if (found) this.person = found;
    if (performance.now() - this.shownAt > UPDATE_MILLISECONDS) this.show(Boolean(found));
  }

  forget(tile) {
    if (tile === this.tile) this.close();
  }

  show(isInView) {
    this.shownAt = performance.now();
    const { person, tile } = this;
    const { names, least } = this.look;
    title.textContent = person.track_id < 0 ? `Somebody in ${tile.name}` : `Person #${person.track_id} in ${tile.name}`;
    const followed = person.track_id < 0 ? `not tracked: as in frame ${tile.frame.index}` : isInView ? `frame ${tile.frame.index}` : "not in view any more";
    about.textContent = `score ${person.score?.toFixed(2) ?? "no number"}, class ${person.class_id}, ${followed}`;
    panel.classList.toggle("gone", !isInView);
    person.keypoints.forEach((point, index) => this.showRow(index, names[index] ?? `keypoint ${index}`, point, least));
    while (rows.children.length > person.keypoints.length) rows.lastChild.remove();
  }

  showRow(index, name, [x, y, score], least) {
    let row = rows.children[index];
    if (!row) {
      row = rows.insertRow();
      row.append(document.createElement("td"), ...[0, 1, 2].map(() => Object.assign(document.createElement("td"), { className: "number" })));
      row.cells[3].append("", Object.assign(document.createElement("meter"), { min: 0, max: 1 }));
    }
    const cells = row.cells;
    cells[0].textContent = name.replaceAll("_", " ");
    cells[1].textContent = x === null ? "–" : x.toFixed(1);
    cells[2].textContent = y === null ? "–" : y.toFixed(1);
    cells[3].firstChild.data = score === null ? "–" : score.toFixed(2);
    cells[3].lastChild.value = score ?? 0;
    row.classList.toggle("unsure", score === null || score < least);
  }
}
