// All runs as a table: sorted, filtered, chosen for the charts; what each was asked to do, and what differs.
"use strict";

Gala.COLUMNS = [ // [name, value of a run to sort by, text of it]
  ["run", (r) => r.name, null],
  ["state", (r) => r.standing],
  ["task", (r) => r.env_id],
  ["agents", (r) => r.agents, (r) => (r.taking_part && r.taking_part < r.agents ? `${r.taking_part} of ${r.agents}` : r.agents || "–")],
  ["coupling", (r) => (r.coupling === "gossip" ? r.topology ?? r.coupling : r.coupling)],
  ["seed", (r) => r.seed, (r) => r.seed ?? "–"],
  ["steps", (r) => r.steps, (r) => Gala.number(r.steps, 4)],
  ["return", (r) => r.return ?? r.returns?.[1], (r) => (r.returns ? r.returns.map((v) => Gala.number(v)).join(" to ") : Gala.number(r.return))],
  ["steps/s", (r) => r.sps, (r) => Gala.number(r.sps, 4)],
  ["of bound", (r) => r.ratio, (r) => Gala.number(r.ratio, 2)],
  ["started", (r) => r.started, (r) => (r.started ? new Date(1000 * r.started).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) : "–")],
  ["tags", (r) => r.tags.join(" ")],
];

Gala.Table = class {
  constructor(page) {
    this.page = page;
    this.opened = new Set(); // names of runs whose details are shown
    this.configs = new Map();
    this.$ = (id) => document.getElementById(id);
    this.$("runs-filter").addEventListener("input", (event) => { page.state.filter = event.target.value; page.changed(); });
    this.$("runs-head").append(Gala.element("tr", {}, ...Gala.COLUMNS.map(([name]) => Gala.element("th", { "data-column": name, scope: "col" },
      Gala.element("button", { type: "button", onclick: () => this.sort(name) }, name))), Gala.element("th")));
  }

  // Again on the same column: the other way around. Numbers begin with the largest.
  sort(name) {
    const { state } = this.page, first = ["agents", "seed", "steps", "return", "steps/s", "of bound", "started"].includes(name) ? `-${name}` : name;
    state.sort = state.sort === first ? (first[0] === "-" ? name : `-${name}`) : first;
    this.page.changed();
  }

  // Runs in which every word of the filter is found, in the order that was chosen.
  shown() {
    const { runs, state } = this.page, words = (state.filter ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const text = (r) => [r.name, r.standing, r.env_id, r.coupling, r.topology, r.commit, r.command, r.notes, `seed=${r.seed}`, `agents=${r.agents}`].join(" ").toLowerCase();
    const down = (state.sort ?? "")[0] === "-", value = Gala.COLUMNS.find(([name]) => name === (state.sort ?? "").replace(/^-/, ""))?.[1];
    const found = runs.filter((run) => words.every((word) => text(run).includes(word)));
    if (!value) return found;
    const none = (v) => v === null || v === undefined || v === "";
    const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    return found.sort((one, two) => { // what is not known comes last, either way
      const [a, b] = [value(one), value(two)];
      return none(a) || none(b) ? none(a) - none(b) : down ? order(b, a) : order(a, b);
    });
  }

  draw() {
    const { page } = this, { state } = page, { names, chosen } = page.compared, shown = this.shown();
    if (this.$("runs-filter").value !== (state.filter ?? "")) this.$("runs-filter").value = state.filter ?? "";
    for (const th of this.$("runs-head").querySelectorAll("[data-column]"))
      Gala.set(th, { "aria-sort": state.sort === th.dataset.column ? "ascending" : state.sort === `-${th.dataset.column}` ? "descending" : null });
    Gala.keyed(this.$("runs"), shown.map((run) => run.name), (name) => this.make(name), (row, name) => this.row(row, page.runs.find((run) => run.name === name), names, chosen));
    Gala.say(this.$("runs-count"), shown.length === names.length ? "" : `${shown.length} of ${names.length} runs`);
    const open = names.filter((name) => this.opened.has(name));
    Gala.keyed(this.$("details"), open, (name) => Gala.element("section", { class: "detail", "data-run": name }), (place, name) => this.detail(place, page.runs.find((run) => run.name === name)));
    this.differences(names.filter((name) => chosen.has(name)));
  }

  make(name) {
    const chip = Gala.element("button", { type: "button", class: "chip", title: "show in the charts below, or not", onclick: () => this.page.compared.toggle(name) }, Gala.swatch(), name);
    const more = Gala.element("button", { type: "button", title: "command, commit, configuration, notes", onclick: () => this.open(name) }, "details");
    return Gala.element("tr", { "data-run": name }, Gala.element("td", {}, chip), ...Gala.COLUMNS.slice(1).map(() => Gala.element("td")), Gala.element("td", {}, more));
  }

  row(row, run, names, chosen) {
    const chip = row.querySelector(".chip"), cells = [...row.children];
    Gala.set(chip, { "aria-pressed": chosen.has(run.name) });
    Gala.paint(chip.firstChild, Gala.colour(names.indexOf(run.name), names.length));
    Gala.set(row, { class: run.name === this.page.state.run ? "current" : null, "data-standing": run.standing });
    Gala.set(cells[cells.length - 1].firstChild, { "aria-expanded": this.opened.has(run.name) });
    Gala.COLUMNS.slice(1).forEach(([, value, text], k) => Gala.say(cells[k + 1], String((text ?? value)(run) ?? "–")));
  }

  open(name) {
    if (!this.opened.delete(name)) this.opened.add(name);
    this.page.redrawSoon();
  }

  // The configuration of a run, asked for once it is wanted; null until it is there.
  config(name) {
    if (!this.configs.has(name)) {
      this.configs.set(name, null);
      Gala.source.config(name).then((options) => { this.configs.set(name, options); this.page.redrawSoon(); }, () => this.configs.delete(name));
    }
    return this.configs.get(name);
  }

  detail(place, run) {
    const options = this.config(run.name), key = JSON.stringify([run, options]);
    if (place.told === key) return;
    place.told = key;
    const facts = [["command", run.command], ["commit", run.commit], ["gala", run.gala], ["torch", run.torch], ["run id", run.run_id], ["hosts", (run.hostnames ?? []).join(", ")],
      ["parameters", run.parameters === null ? null : Gala.number(run.parameters, 4)], ["newest record", run.t ? new Date(1000 * run.t).toLocaleString() : null], ["notes", run.notes]];
    place.replaceChildren(
      Gala.element("h3", {}, run.name, " ", Gala.element("button", { type: "button", onclick: () => this.page.show(run.name) }, "show this run"), " ",
        Gala.element("button", { type: "button", onclick: () => this.open(run.name) }, "close")),
      Gala.element("dl", {}, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [Gala.element("dt", {}, name), Gala.element("dd", {}, String(text))])),
      Gala.element("details", { class: "config" }, Gala.element("summary", {}, "configuration"), Gala.table(["option", "value"], Object.entries(options ?? {}))));
  }

  // Options in which the chosen runs differ.
  differences(names) {
    const known = names.map((name) => [name, this.page.runs.length > 1 && names.length > 1 && names.length < 9 ? this.config(name) : null]).filter(([, options]) => options);
    const all = [...new Set(known.flatMap(([, options]) => Object.keys(options)))].filter((option) => new Set(known.map(([, options]) => options[option])).size > 1);
    const key = JSON.stringify([known.map(([name]) => name), all]);
    if (key === this.differing) return;
    this.differing = key;
    this.$("differences").hidden = known.length < 2;
    this.$("differences").replaceChildren(Gala.element("summary", {}, all.length ? `${all.length} options differ` : "the chosen runs differ in no option but the seed"),
      ...(all.length ? [Gala.table(["option", ...known.map(([name]) => name)], all.map((option) => [option, ...known.map(([, options]) => options[option] ?? "absent")]))] : []));
  }
};

Gala.table = (heads, rows) => Gala.element("table", {}, Gala.element("thead", {}, Gala.element("tr", {}, ...heads.map((head) => Gala.element("th", {}, head)))),
  Gala.element("tbody", {}, ...rows.map((row) => Gala.element("tr", {}, ...row.map((cell) => Gala.element("td", {}, String(cell)))))));
