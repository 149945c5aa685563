/* Browsers start no Worker for pages opened from a file. There, the theme's search runs in a frame of the page instead:
 * the same script, the same messages. (It is called iframe-worker because the theme's offline plugin looks for that
 * word, and would otherwise load a script from another site.) */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #inside;
    #waiting = [];

    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      const load = source => new Promise((done, failed) => {
        const script = inside.document.createElement("script");
        script.src = new URL(source, location.href);
        script.onload = done;
        script.onerror = failed;
        inside.document.body.append(script);
      });
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...sources) => sources.reduce((before, each) => before.then(() => load(each)), Promise.resolve());
      inside.importScripts(url).then(() => {
        this.#inside = inside;
        for (const data of this.#waiting) this.postMessage(data);
      });
    }

    postMessage(data) {
      if (this.#inside) this.#inside.dispatchEvent(new MessageEvent("message", { data }));
      else this.#waiting.push(data);
    }

    terminate() {}
  };
}
