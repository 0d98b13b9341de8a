// A page that is opened from a file may start no worker, which the search runs in: there an
// invisible frame takes its place, with the same four members.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      this.listen = (event) => {
        if (event.source !== inside) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        if (this.onmessage) this.onmessage(copy);
      };
      window.addEventListener("message", this.listen);
      inside.document.open();
      inside.document.write(
        "<!DOCTYPE html><html><body><script>" +
          "postMessage = (data) => parent.postMessage(data, '*');" +
          "importScripts = (...urls) => urls.reduce((before, url) => before.then(() =>" +
          " new Promise((done, failed) => document.body.appendChild(Object.assign(" +
          "document.createElement('script'), { src: url, onload: done, onerror: failed }))))," +
          " Promise.resolve());" +
          "<\/script><script src=\"" + url + "\"><\/script></body></html>"
      );
      inside.document.close();
      this.ready = new Promise((done) => (inside.onload = done));
    }

    postMessage(data) {
      const inside = this.frame.contentWindow;
      this.ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      window.removeEventListener("message", this.listen);
      this.frame.remove();
    }
  };
}
