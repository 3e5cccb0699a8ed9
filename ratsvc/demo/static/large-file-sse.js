// Puts a file together from events: `begin`, `chunk`s in base64 that are checked one by one, and `end` with its digest.

import { $, clear, compare, events, fromBase64, number, progress, run } from "/demos/frame.js";
import { digest } from "/ui/digest.js";

let address = "";

class Assembly {
  constructor() {
    Object.assign(this, { about: null, parts: [], bytes: 0, end: null });
  }

  take(event) {
    if (event.part === "begin") this.about = event;
    else if (event.part === "chunk") this.add(event);
    else if (event.part === "end") this.end = event;
    else throw new Error("the app could not read its file");
  }

  add({ index, offset, data }) {
    if (index !== this.parts.length || offset !== this.bytes) throw new Error(`chunk ${index} came out of place`);
    const part = fromBase64(data);
    this.parts.push(part);
    this.bytes += part.length;
    progress("come", this.bytes, this.about.size);
    $("chunks").textContent = `${number(this.parts.length)} of ${number(this.about.total)}`;
  }

  async whole() {
    const { about, parts, bytes, end } = this;
    if (!end || bytes !== end.size || bytes !== about.size || parts.length !== end.total) throw new Error("the file is not whole");
    const file = new Blob(parts, { type: "application/octet-stream" });
    compare(end.sha256, await digest(await file.arrayBuffer()));
    return file;
  }
}

async function fetchFile() {
  const size = new FormData($("controls")).get("mib"), began = performance.now(), assembly = new Assembly();
  clear("name", "chunks", "theirs", "ours", "verdict");
  $("save").hidden = true;
  URL.revokeObjectURL(address);
  await events(`/large-file-sse/file?mib=${size}`, { file: (event) => assembly.take(event) });
  const seconds = (performance.now() - began) / 1000, file = await assembly.whole();
  $("name").textContent = `${assembly.about.name}, ${number(file.size)} bytes, in ${number(seconds, 1)} s: ${number(file.size / seconds / 1e6, 1)} MB/s`;
  address = URL.createObjectURL(file);
  Object.assign($("save"), { href: address, download: assembly.about.name, hidden: false });
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(fetchFile);
});
