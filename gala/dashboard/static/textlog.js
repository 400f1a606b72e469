// The end of what one agent said: its events, warnings and tracebacks, as text.
"use strict";

Gala.LOG_S = 3; // between two looks

Gala.TextLog = class {
  constructor(page) {
    this.page = page;
    this.card = document.getElementById("textlog");
    this.choice = this.card.querySelector("select");
    this.text = this.card.querySelector("pre");
    this.choice.addEventListener("change", () => { this.asked = null; this.draw(); });
  }

  draw() {
    const { info } = this.page.series, ranks = info.logs ?? [], now = performance.now();
    this.card.hidden = !ranks.length;
    if (this.card.hidden) return;
    Gala.keyed(this.choice, ranks, (rank) => Gala.element("option", { value: rank }, `agent ${rank}`));
    const key = `${info.name} ${this.choice.value}`;
    if (this.asked === key && (Gala.source.frozen || this.page.state.paused || now - this.at < 1000 * Gala.LOG_S)) return;
    Object.assign(this, { asked: key, at: now });
    Gala.source.log(info.name, this.choice.value).then((text) => { if (this.asked === key) this.show(text); }, () => {});
  }

  // The newest line stays in view for who has not scrolled away from it.
  show(text) {
    const { text: place } = this, atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 8;
    Gala.say(place, text || "nothing yet");
    if (atEnd) place.scrollTop = place.scrollHeight;
  }
};
