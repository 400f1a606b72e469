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
      history: async (name) => frozen.history[name],
      follow: (name, listen) => {
        for (const kind of ["peers", "events", "distances", "problems"]) listen(kind, frozen[kind][name]);
        return () => {};
      },
    };
  }
  const get = async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const path = (name) => name.split("/").map(encodeURIComponent).join("/");
  return {
    frozen: false,
    summary: () => null,
    runs: () => get("api/runs"),
    history: (name, { points, since, until } = {}) => {
      const asked = new URLSearchParams();
      if (points) asked.set("points", points);
      if (Number.isFinite(since)) asked.set("since", since);
      if (Number.isFinite(until)) asked.set("until", until);
      return get(`api/history/${path(name)}?${asked}`);
    },
    follow: (name, listen) => {
      const stream = new EventSource(`api/stream/${path(name)}`);
      for (const kind of ["peers", "rows", "events", "distances", "problems"])
        stream.addEventListener(kind, (event) => listen(kind, JSON.parse(event.data)));
      stream.onopen = () => listen("connection", true);
      stream.onerror = () => listen("connection", false);
      return () => stream.close();
    },
  };
})();
