"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const ROW = 48, MOST = 8000000, DIFF = 2000;
  const state = { items: null, shown: [], texts: [], hay: [] };

  async function unpack(element) {
    const raw = atob(element.textContent);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  // The characters of llmc/harmless.py: controls, marks that turn the reading direction and what takes no room are
  // shown as escapes, never obeyed.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
  const code = (n) => (n < 0x10000 ? "\\u" + n.toString(16).padStart(4, "0") : "\\U" + n.toString(16).padStart(8, "0"));
  const visible = (text) => text.replace(HIDDEN, (c) => code(c.codePointAt(0)));

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = visible(String(text));
    return node;
  }

  const field = (i, name) => {
    const block = Math.floor(i / state.items.chunk), text = state.texts[block];
    return text ? text[name][i % state.items.chunk] : undefined;
  };
  const care = (i) => state.items.care[state.items.task[i]];
  const sure = (i) => (state.items.margin[i] < 0 ? "–" : state.items.margin[i] + " %");

  function haystack(i) {
    if (state.hay[i] === undefined) {
      const parts = [state.items.id[i]];
      for (const name of ["question", "gold", "dense", "compressed"]) parts.push(field(i, name) || "");
      for (const option of (field(i, "options") || [[]])[0]) parts.push(option[0]);
      state.hay[i] = parts.join("\n").toLowerCase();
    }
    return state.hay[i];
  }

  // Lower-cased text of all items, made in pauses, so that the first search needn't wait for it.
  function prepare(from) {
    const end = Math.min(from + 2000, state.items.id.length);
    for (let i = from; i < end; i++) haystack(i);
    if (end < state.items.id.length) (window.requestIdleCallback || setTimeout)(() => prepare(end));
  }

  function filter() {
    const d = state.items, q = $("q").value.trim().toLowerCase();
    const pick = (id) => ($(id) && $(id).value !== "" ? Number($(id).value) : -1);
    const run = pick("f-run"), task = pick("f-task"), kind = pick("f-kind");
    const shown = [];
    for (let i = 0; i < d.id.length; i++) {
      if (run >= 0 && d.run[i] !== run) continue;
      if (task >= 0 && d.task[i] !== task) continue;
      if (kind >= 0 && d.kind[i] !== kind) continue;
      if (q && !haystack(i).includes(q)) continue;
      shown.push(i);
    }
    state.shown = shown;
    $("count").textContent = shown.length.toLocaleString("en") + " of " + d.id.length.toLocaleString("en") + " items";
    $("spacer").style.height = Math.min((shown.length + 1) * ROW, MOST) + "px";
    $("list").scrollTop = 0;
    const hash = new URLSearchParams();
    for (const [key, id] of [["q", "q"], ["run", "f-run"], ["task", "f-task"], ["kind", "f-kind"]])
      if ($(id) && $(id).value) hash.set(key, $(id).value);
    if (hash.size || location.hash.startsWith("#items?"))
      history.replaceState(null, "", hash.size ? "#items?" + hash : "#items");
    draw();
  }

  function many() {
    return state.items.runs.length > 1;
  }

  function cell(row, className, text) {
    const node = make("span", className, text === undefined ? "…" : String(text).slice(0, 200));
    node.setAttribute("role", "cell");
    row.append(node);
    return node;
  }

  function drawRow(position) {
    const d = state.items, i = state.shown[position], row = make("div", "row");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", position + 2);
    const kind = d.kinds[d.kind[i]];
    const first = cell(row, "i", "");
    const open = make("button", "", d.id[i]);
    open.type = "button";
    open.title = visible(d.tasks[d.task[i]]);
    open.addEventListener("click", () => detail(i));
    first.append(open);
    cell(row, "k-" + kind.replace(" ", "-"), kind);
    if (many()) cell(row, "r", d.runs[d.run[i]]);
    cell(row, "m", sure(i));
    const question = field(i, "question");
    cell(row, "t", question === undefined ? "(in items.jsonl.gz)" : care(i) ? "(open to show)" : question);
    cell(row, "o", question === undefined || care(i) ? "" : field(i, "gold"));
    cell(row, "g", question === undefined || care(i) ? "" : field(i, "dense"));
    cell(row, "a", question === undefined || care(i) ? "" : field(i, "compressed"));
    return row;
  }

  function head() {
    const row = make("div", "row head");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", 1);
    for (const [name, className] of [["Item", "i"], ["Kind", "k"], ["Run", "r"], ["Sure", "m"], ["Question", "t"], ["Gold", "o"], ["Dense", "g"], ["Compressed", "a"]]) {
      if (className === "r" && !many()) continue;
      const node = make("span", className, name);
      node.setAttribute("role", "columnheader");
      row.append(node);
    }
    return row;
  }

  function draw() {
    const list = $("list"), rows = $("rows"), n = state.shown.length;
    const height = list.clientHeight, span = Math.min((n + 1) * ROW, MOST);
    const fit = Math.max(Math.floor(height / ROW) - 1, 1);
    // Beyond the largest height that browsers keep, the scroll bar's position stands for a share of the list.
    const share = span > height ? list.scrollTop / (span - height) : 0;
    const first = Math.max(0, Math.min(Math.round(share * Math.max(n - fit, 0)), n - 1));
    const focused = document.activeElement && rows.contains(document.activeElement) ? document.activeElement.textContent : null;
    rows.className = many() ? "many" : "";
    rows.replaceChildren(head());
    rows.setAttribute("aria-rowcount", n + 1);
    for (let k = first; k < Math.min(first + fit + 2, n); k++) rows.append(drawRow(k));
    rows.style.transform = "translateY(" + list.scrollTop + "px)";
    if (focused !== null)
      for (const button of rows.querySelectorAll("button")) if (button.textContent === focused) button.focus({ preventScroll: true });
  }

  function words(text) {
    return text.slice(0, DIFF).match(/\s+|[^\s]+/g) || [];
  }

  // Longest common subsequence of words; 2,000 characters a side keep the table small.
  function diff(a, b) {
    const n = a.length, m = b.length, width = m + 1, table = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--)
      for (let j = m - 1; j >= 0; j--)
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    const left = [], right = [];
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && a[i] === b[j]) { left.push([0, a[i++]]); right.push([0, b[j++]]); }
      else if (j >= m || (i < n && table[(i + 1) * width + j] >= table[i * width + j + 1])) left.push([1, a[i++]]);
      else right.push([1, b[j++]]);
    }
    return [left, right];
  }

  function marked(parts, tag, rest) {
    const box = make("div", "text");
    for (const [changed, word] of parts) box.append(changed ? make(tag, "", word) : document.createTextNode(visible(word)));
    if (rest) box.append(document.createTextNode(visible(rest)));
    return box;
  }

  function detail(i) {
    const d = state.items, body = $("d-body");
    $("d-title").textContent = visible(d.tasks[d.task[i]] + " · " + d.id[i]);
    body.replaceChildren(make("p", "", d.runs[d.run[i]] + " · " + d.kinds[d.kind[i]] + " · dense sure: " + sure(i)));
    body.append(make("p", "", "What was marked: " + d.channel[d.task[i]] + "."));
    if (field(i, "question") === undefined) body.append(make("p", "note", "The text of this item did not fit into the page: it is in items.jsonl.gz."));
    else if (care(i)) {
      const show = make("button", "", "Show text");
      show.type = "button";
      show.addEventListener("click", () => { show.remove(); showTexts(body, i); });
      body.append(make("p", "note", "The text may be toxic or personal."), show);
    } else showTexts(body, i);
    $("detail").showModal();
  }

  function showTexts(body, i) {
    const dense = field(i, "dense"), other = field(i, "compressed"), [left, right] = diff(words(dense), words(other));
    const section = (name, node) => body.append(make("h3", "", name), node);
    section("Question", marked([[0, field(i, "question")]], "ins"));
    section("Gold", marked([[0, field(i, "gold")]], "ins"));
    if (field(i, "options")) { section("Options", likelihoods(field(i, "options"))); return; }
    section("Dense", marked(left, "del", dense.slice(DIFF)));
    section("Compressed", marked(right, "ins", other.slice(DIFF)));
  }

  // Joint log-likelihoods of the options, and which of them is right, dense's choice and compressed's.
  function likelihoods([options, right, dense, other]) {
    const table = make("table", "options"), head = make("tr"), box = make("div", "wide");
    for (const name of ["Option", "Dense, nats", "Compressed, nats", ""]) head.append(make("th", "", name));
    table.append(head);
    options.forEach(([name, a, b], k) => {
      const row = make("tr", k === right ? "right" : ""), marks = [];
      if (k === right) marks.push("gold");
      if (k === dense) marks.push("dense’s choice");
      if (k === other) marks.push("compressed’s choice");
      row.append(make("td", "", name), make("td", "n", nats(a)), make("td", "n", nats(b)), make("td", "", marks.join(", ")));
      table.append(row);
    });
    box.append(table, make("p", "note", "Log-likelihood of the whole option after the question: the highest is the choice."));
    return box;
  }

  const nats = (value) => (value === null ? "–" : (value <= -0.005 ? "−" : "") + Math.abs(value).toFixed(2));

  // A cell that begins like a formula gets an apostrophe, so that no spreadsheet runs it.
  function quoted(value) {
    const text = visible(String(value === undefined ? "" : value));
    return '"' + (/^\s*[=+\-@＝＋－＠]|^\s/.test(text) ? "'" : "") + text.replaceAll('"', '""') + '"';
  }

  const spelled = (found) => (found ? found[0].map(([name, a, b]) => name + ": " + nats(a) + " → " + nats(b)).join("; ") : "");

  function save() {
    const d = state.items, lines = ["run,task,item,kind,dense sure,marked by,question,gold,dense,compressed,options"];
    for (const i of state.shown) {
      const texts = ["question", "gold", "dense", "compressed"].map((name) => field(i, name));
      lines.push([d.runs[d.run[i]], d.tasks[d.task[i]], d.id[i], d.kinds[d.kind[i]], d.margin[i] < 0 ? "" : d.margin[i], d.channel[d.task[i]], ...texts, spelled(field(i, "options"))].map(quoted).join(","));
    }
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n")], { type: "text/csv" }));
    link.download = "items.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function restore() {
    if (!location.hash.startsWith("#items?")) return;
    const hash = new URLSearchParams(location.hash.slice(7));
    for (const [key, id] of [["q", "q"], ["run", "f-run"], ["task", "f-task"], ["kind", "f-kind"]])
      if ($(id) && hash.has(key)) $(id).value = hash.get(key);
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") { $("no-unpack").hidden = false; return; }
    state.items = await unpack($("index"));
    state.texts = await Promise.all([...document.querySelectorAll("script.text")].map(unpack));
    state.hay = new Array(state.items.id.length);
    $("browser").hidden = false;
    $("static").hidden = true;
    restore();
    let timer = 0;
    $("q").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 60); });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["f-run", "f-task", "f-kind"]) if ($(id)) $(id).addEventListener("change", filter);
    $("csv").addEventListener("click", save);
    $("list").addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    addEventListener("resize", () => requestAnimationFrame(draw));
    $("d-close").addEventListener("click", () => $("detail").close());
    filter();
    document.documentElement.dataset.ready = "items";
    prepare(0);
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.print:not([open])")];
    for (const node of opened) node.open = true;
  });
  addEventListener("afterprint", () => { for (const node of opened) node.open = false; });
  start().catch(() => { $("no-unpack").hidden = false; });
})();
