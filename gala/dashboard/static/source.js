// Where the page has its data from: the server, or a frozen copy inside the page itself.
"use strict";

Gala.source = (() => {
  const place = document.getElementById("frozen");
  if (place) {
    const frozen = JSON.parse(place.textContent);
    return {
      frozen: true,
      summary: () => document.getElementById("frozen-summary"),
      runs: async () => frozen.runs,
      controls: async () => [],
      config: async (name) => frozen.config[name],
      log: async (name, rank) => frozen.log[name][rank] ?? "",
      history: async (name) => frozen.history[name],
      events: async (name, kinds) => ({ share: 1, all: frozen.events[name].all.filter((e) => kinds.includes(e.event)) }),
      follow: (name, listen) => {
        for (const kind of ["peers", "events", "distances", "agreement", "problems"]) listen(kind, frozen[kind][name]);
        return () => {};
      },
    };
  }
  const ask = async (path, how) => {
    const answer = await fetch(path, how);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const get = async (path) => (await ask(path)).json();
  const path = (name) => name.split("/").map(encodeURIComponent).join("/");
  return {
    frozen: false,
    summary: () => null,
    runs: () => get("api/runs"),
    controls: () => get("api/control"),
    ask: (name, wish) => ask(`api/control/${wish}/${path(name)}`, { method: "POST", headers: { "x-gala-asks": wish } }),
    config: (name) => get(`api/config/${path(name)}`),
    log: async (name, rank) => (await ask(`api/log/${path(name)}?agent=${rank}`)).text(),
    video: (name, { name: file, t }) => `api/video/${path(name)}?${new URLSearchParams({ name: file, t })}`, // t: of one name there may be another later
    history: (name, { points, since, until } = {}) => {
      const asked = new URLSearchParams();
      if (points) asked.set("points", points);
      if (Number.isFinite(since)) asked.set("since", since);
      if (Number.isFinite(until)) asked.set("until", until);
      return get(`api/history/${path(name)}?${asked}`);
    },
    events: (name, kinds) => get(`api/events/${path(name)}?kinds=${kinds}`),
    follow: (name, listen) => {
      const stream = new EventSource(`api/stream/${path(name)}`);
      for (const kind of ["peers", "rows", "events", "distances", "agreement", "problems"])
        stream.addEventListener(kind, (event) => listen(kind, JSON.parse(event.data)));
      stream.onopen = () => listen("connection", true);
      stream.onerror = () => listen("connection", false);
      return () => stream.close();
    },
  };
})();

// One run as it is read: all of it, coarsely where it is long, and what a zoom shows in detail.
Gala.Reading = class {
  constructor(info, points) {
    this.points = points;
    this.whole = new Gala.Series(info);
    this.fine = null;
  }

  // What is known best of the times that were asked for.
  get shown() { return this.fine ?? this.whole; }

  async load() {
    this.whole.load(await Gala.source.history(this.whole.info.name, { points: this.points }));
  }

  // Read a part again; there is nothing finer where every record is there, or in a frozen page.
  async detail(since, until) {
    const asked = this.asked = {};
    if (Gala.source.frozen || this.whole.share >= 1 || since === -Infinity) { this.fine = null; return; }
    const history = await Gala.source.history(this.whole.info.name, { points: this.points, since, until });
    if (asked !== this.asked) return; // another part is wanted meanwhile
    this.fine = new Gala.Series(this.whole.info);
    this.fine.load(history);
    this.fine.until = until;
  }

  append(rows) {
    this.whole.append(rows);
    this.fine?.append(rows.filter(([, t]) => t <= this.fine.until));
  }
};
