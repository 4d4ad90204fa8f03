// Search from disk: browsers start no worker for file: pages, so the script of one runs in a hidden frame instead.
(() => {
  if (location.protocol !== "file:") return;
  const load = (frame, address) =>
    new Promise((done) => {
      const script = frame.document.createElement("script");
      script.src = address;
      script.onload = script.onerror = done;
      frame.document.body.appendChild(script);
    });
  class IFrameWorker extends EventTarget {
    constructor(address) {
      super();
      const holder = document.createElement("iframe");
      holder.hidden = true;
      document.body.appendChild(holder);
      const frame = holder.contentWindow;
      frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      frame.importScripts = (...names) => names.reduce((before, one) => before.then(() => load(frame, one)), Promise.resolve());
      this.frame = frame;
      this.ready = load(frame, address);
    }
    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  }
  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
})();
