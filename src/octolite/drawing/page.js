"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const facts = JSON.parse(at("facts").textContent);
  const canvas = at("canvas"), all = at("all"), panel = at("panel"), search = at("search");
  const sheets = [...all.querySelectorAll(".sheet")];
  const edges = [...all.querySelectorAll(".edge")];
  const HEADER = 26, GAP = 32;

  // -- where sheets stand: the first at the left, the others in columns beside it ---------------

  const folded = new Set(sheets.slice(1).map((s) => s.id));
  const heightOf = (s) => (folded.has(s.id) ? HEADER : +s.dataset.h);
  const widthOf = (s) => +s.dataset.w;

  function place() {
    const limit = Math.max(...sheets.map(heightOf));
    let left = 0, top = 0, wide = 0;
    for (const sheet of sheets) {
      const height = heightOf(sheet);
      if (top && (top + height > limit || sheet === sheets[1])) {
        left += wide + GAP;
        top = wide = 0;
      }
      sheet.setAttribute("transform", `translate(${left},${top})`);
      sheet.querySelector(".frame").setAttribute("height", height);
      sheet.querySelector(".body").style.display = folded.has(sheet.id) ? "none" : "";
      sheet.querySelector(".sign").textContent = folded.has(sheet.id) ? "▸" : "▾";
      sheet.corner = [left, top];
      top += height + GAP;
      wide = Math.max(wide, widthOf(sheet));
    }
  }

  function fold(sheet, closed) {
    closed ? folded.add(sheet.id) : folded.delete(sheet.id);
    place();
  }

  // -- moving and zooming -----------------------------------------------------------------------

  const view = { x: 0, y: 0, scale: 1 };
  const clamp = (scale) => Math.min(4, Math.max(0.02, scale));

  function show() {
    all.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);
  }

  function zoom(factor, x, y) {
    const scale = clamp(view.scale * factor);
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    show();
  }

  function zoomMiddle(factor) {
    zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  }

  function extent() {
    const far = sheets.map((s) => [s.corner[0] + widthOf(s), s.corner[1] + heightOf(s)]);
    return [Math.max(...far.map((f) => f[0])), Math.max(...far.map((f) => f[1]))];
  }

  function fit() {
    const [width, height] = extent();
    const across = (canvas.clientWidth - 32) / width, down = (canvas.clientHeight - 32) / height;
    view.scale = clamp(Math.min(1, across, down));
    view.x = (canvas.clientWidth - width * view.scale) / 2;
    view.y = 16;
    show();
  }

  function start() {
    const width = widthOf(sheets[0]);
    view.scale = clamp(Math.min(1, Math.max(0.6, (canvas.clientWidth - 32) / width)));
    view.x = Math.max(16, (canvas.clientWidth - width * view.scale) / 2);
    view.y = 16;
    show();
    const first = sheets[0].querySelector(".box");
    if (first && width * view.scale > canvas.clientWidth) centre(first, 0.2);
  }

  function centre(element, share = 0.5) {
    const box = element.getBoundingClientRect(), area = canvas.getBoundingClientRect();
    view.x += area.left + area.width / 2 - (box.left + box.width / 2);
    view.y += area.top + area.height * share - (box.top + box.height / 2);
    show();
  }

  const pointers = new Map();
  let moved = 0, spread = 0;

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 1) moved = 0;
    spread = 0;
  });
  window.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY];
    pointers.set(event.pointerId, now);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], area = canvas.getBoundingClientRect();
      const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
      const x = (a[0] + b[0]) / 2 - area.left, y = (a[1] + b[1]) / 2 - area.top;
      if (spread) zoom(apart / spread, x, y);
      spread = apart;
      moved = 9;
      return;
    }
    view.x += now[0] - last[0];
    view.y += now[1] - last[1];
    moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
    canvas.classList.toggle("dragged", moved > 4);
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    window.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      canvas.classList.remove("dragged");
    });
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const area = canvas.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const x = event.clientX - area.left, y = event.clientY - area.top;
    zoom(Math.exp(-event.deltaY * lines * 0.0015), x, y);
  }, { passive: false });

  // -- what is known of a box -------------------------------------------------------------------

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function link(text, act) {
    const button = make("button", text, "link");
    button.addEventListener("click", act);
    return button;
  }

  function tensor(facts_) {
    const element = make("div", undefined, "tensor");
    if (facts_.role) element.append(make("b", facts_.role), " ");
    element.append(make("span", facts_.type), make("div", facts_.name, "soft"));
    if (facts_.stored) element.append(make("div", facts_.stored));
    if (facts_.quant) element.append(make("div", facts_.quant, "mark"));
    for (const key of facts_.boxes || []) {
      const other = facts.boxes[key];
      const line = make("div");
      line.append(link(`→ ${other.title} ${other.name}`, () => go(key)));
      element.append(line);
    }
    return element;
  }

  function rows(pairs) {
    const table = make("table");
    for (const [name, value] of pairs) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = value;
    }
    return table;
  }

  function tell(key) {
    const box = facts.boxes[key];
    const close = make("button", "×", "close");
    close.title = "Close (Esc)";
    close.addEventListener("click", clear);
    panel.replaceChildren(close, make("h2", box.title), make("div", box.name, "soft"));
    if (box.mark) panel.append(make("div", box.mark, "mark"));
    const more = [["family", box.family]];
    if (box.bytes) more.push(["constants", box.bytes]);
    panel.append(make("h3", "about"), rows(more));
    for (const graph of box.calls) {
      panel.append(link(`runs ${facts.sheets[graph]}`, () => openSheet(graph)));
    }
    if (box.attributes.length) panel.append(make("h3", "attributes"), rows(box.attributes));
    if (box.inputs.length) panel.append(make("h3", "inputs"), ...box.inputs.map(tensor));
    if (box.outputs.length) panel.append(make("h3", "outputs"), ...box.outputs.map(tensor));
    panel.hidden = false;
    panel.scrollTop = 0;
  }

  // -- choosing ---------------------------------------------------------------------------------

  function unlight() {
    for (const element of all.querySelectorAll(".lit, .on")) element.classList.remove("lit", "on");
    for (const key of document.querySelectorAll(".key.chosen")) key.classList.remove("chosen");
    canvas.classList.remove("chosen");
  }

  function clear() {
    unlight();
    panel.hidden = true;
    at("found").value = "";
    history.replaceState(null, "", "#");
  }

  function choose(key) {
    unlight();
    const box = at(key);
    box.classList.add("on", "lit");
    for (const edge of edges) {
      const { s, t } = edge.dataset;
      if (s !== key && t !== key) continue;
      edge.classList.add("lit");
      at(s).classList.add("lit");
      at(t).classList.add("lit");
    }
    canvas.classList.add("chosen");
    tell(key);
    history.replaceState(null, "", "#" + key);
  }

  function go(key) {
    fold(at(key).closest(".sheet"), false);
    choose(key);
    centre(at(key));
  }

  function openSheet(id) {
    fold(at(id), false);
    centre(at(id).querySelector(".fold"), 0.15);
  }

  canvas.addEventListener("click", (event) => {
    if (moved > 4) return;
    const box = event.target.closest(".box"), bar = event.target.closest(".fold");
    if (box) choose(box.id);
    else if (bar) fold(bar.parentNode, !folded.has(bar.parentNode.id));
    else clear();
  });

  // -- searching --------------------------------------------------------------------------------

  const words = Object.entries(facts.boxes).map(([key, box]) => [key, [
    box.title, box.name, box.mark,
    ...[...box.inputs, ...box.outputs].flatMap((t) => [t.name, t.type, t.stored]),
  ].join(" ").toLowerCase()]);
  let found = [], place_ = -1;

  function light(keys) {
    unlight();
    for (const key of keys) at(key).classList.add("lit");
    canvas.classList.toggle("chosen", keys.length > 0);
  }

  function look() {
    const parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = parts.length
      ? words.filter(([, text]) => parts.every((p) => text.includes(p))).map(([key]) => key)
      : [];
    place_ = -1;
    light(found);
    at("found").value = parts.length ? `${found.length} found` : "";
  }

  function next(step) {
    if (!found.length) return;
    place_ = (place_ + step + found.length) % found.length;
    go(found[place_]);
    at("found").value = `${place_ + 1} / ${found.length}`;
  }

  search.addEventListener("input", look);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { search.value = ""; search.blur(); clear(); }
    event.stopPropagation();
  });
  for (const key of document.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      const again = key.classList.contains("chosen");
      const boxes = all.querySelectorAll(`.box.${key.dataset.family}`);
      light(again ? [] : [...boxes].map((b) => b.id));
      if (!again) key.classList.add("chosen");
    });
  }
  at("closer").addEventListener("click", () => zoomMiddle(1.3));
  at("farther").addEventListener("click", () => zoomMiddle(1 / 1.3));
  at("fit").addEventListener("click", fit);
  const keys = { "+": () => zoomMiddle(1.3), "=": () => zoomMiddle(1.3), "-": () => zoomMiddle(1 / 1.3),
    "0": fit, "Escape": clear, "/": () => search.focus() };
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  place();
  start();
  const asked = location.hash.slice(1);
  if (Object.hasOwn(facts.boxes, asked)) go(asked);
})();
