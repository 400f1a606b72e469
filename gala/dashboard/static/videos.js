// Games of a policy that gala eval --video put into the run's folder, newest first.
"use strict";

Gala.Videos = class {
  constructor(page) {
    this.page = page;
    this.card = document.getElementById("videos");
    this.place = this.card.querySelector("div");
  }

  // A player stays as it is while its file does: a game that is watched goes on.
  draw() {
    const { info, start } = this.page.series, videos = Gala.source.frozen ? [] : info.videos ?? [];
    this.card.hidden = !videos.length;
    const by = new Map(videos.map((each) => [`${info.name}/${each.name}/${each.t}`, each]));
    Gala.keyed(this.place, [...by.keys()], (key) => Gala.element("figure", {},
      Gala.element("video", { controls: "", preload: "metadata", playsinline: "", src: Gala.source.video(info.name, by.get(key)) }),
      Gala.element("figcaption")),
    (item, key) => {
      const { name, t } = by.get(key);
      Gala.say(item.lastChild, `${name.replace(/\.mp4$/i, "")}, ${Gala.clock(t - start)}`);
    });
  }
};
