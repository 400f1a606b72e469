// What should not be missed: loud events, one line a kind, until somebody has seen them.
"use strict";

Gala.LOUD = ["alarm", "dead", "error", "refused"];

Gala.Alerts = class {
  constructor(page) {
    this.page = page;
    this.place = document.getElementById("alerts");
  }

  // Time of the newest event that was seen, by run and kind; forgotten where a browser keeps nothing.
  get seen() { try { return JSON.parse(localStorage.getItem("gala-seen")) ?? {}; } catch { return this.own ?? {}; } }

  hide(name, t) {
    this.own = { ...this.seen, [name]: t };
    try { localStorage.setItem("gala-seen", JSON.stringify(this.own)); } catch { /* until it is loaded again */ }
    this.page.redrawSoon();
  }

  draw() {
    const { page } = this, { info, start } = page.series, seen = this.seen;
    const found = Gala.LOUD.map((kind) => {
      const name = `${info.run_id ?? info.name} ${kind}`, all = page.events.filter((e) => e.event === kind && e.t > (seen[name] ?? -Infinity));
      return { name, kind, count: all.length, last: all[all.length - 1] };
    }).filter(({ count }) => count);
    const by = new Map(found.map((each) => [each.kind, each]));
    Gala.keyed(this.place, [...by.keys()], (kind) => Gala.element("li", { "data-kind": kind }, Gala.element("span"), " ",
      Gala.element("button", { type: "button", title: "seen: do not show it again", onclick: (event) => this.hide(event.target.dataset.name, Number(event.target.dataset.t)) }, "seen")),
    (item, kind) => {
      const { name, count, last } = by.get(kind);
      Gala.say(item.firstChild, `${Gala.MARKS[kind][0]} ${kind}${count > 1 ? `, ${count} times, the last` : ""} at ${Gala.clock(last.t - start)}, agent ${last.rank}: ${last.message}`);
      Gala.set(item.lastChild, { "data-name": name, "data-t": last.t });
    });
    this.place.hidden = !found.length;
    document.title = `${found.length ? `(${found.length}) ` : ""}${info.name} – gala`;
  }
};

// Buttons that ask a run for something, where the server lets those who know its token.
Gala.Control = class {
  constructor(page) {
    this.page = page;
    this.place = document.getElementById("control");
    Gala.source.controls().then((wishes) => this.place.append(...wishes.map((wish) => Gala.element("button", { type: "button", "data-wish": wish, onclick: (event) => this.ask(wish, event.target) }, wish))), () => {});
  }

  // Only agents that are there can hear.
  draw(live) { this.place.hidden = !live; }

  async ask(wish, button) {
    const { run } = this.page.state;
    if (wish === "stop" && !confirm(`Ask all agents of ${run} to save and stop?`)) return;
    button.disabled = true;
    try {
      await Gala.source.ask(run, wish);
      button.textContent = "asked";
    } catch (error) {
      this.page.complain(error.message);
    }
    setTimeout(() => { button.disabled = false; button.textContent = wish; }, 3000);
  }
};
