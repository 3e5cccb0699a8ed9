// The event stream of an upload is opened first; its first event names where the file goes.
// XMLHttpRequest sends it, for fetch does not tell how much it has sent. A browser hashes only what it has as a
// whole, so the file is read into memory for that: its size is bounded.

import { $, clear, compare, events, number, progress, run } from "/demos/frame.js";
import { digest } from "/ui/digest.js";

const SAMPLE_BYTES = 8 * 2 ** 20, RANDOM_BYTES = 65_536;

async function upload(file) {
  clear("theirs", "ours", "verdict");
  progress("sent", 0, file.size);
  progress("hashed", 0, file.size);
  let working, found;
  await events("/large-file-upload/progress", {
    ready({ upload, max_bytes }) {
      if (file.size > max_bytes) throw new Error(`the file has ${number(file.size)} bytes, and ${number(max_bytes)} may come`);
      working = Promise.all([send(upload, file), file.arrayBuffer().then(digest)]);
      return working;
    },
    progress: ({ bytes }) => progress("hashed", bytes, file.size),
    done(result) {
      found = result;
      progress("hashed", result.bytes, file.size);
    },
  });
  const [, ours] = await working;
  compare(found.sha256, ours);
  if (found.bytes !== file.size) throw new Error(`${number(found.bytes)} of ${number(file.size)} bytes came`);
}

function send(upload, file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded }) => progress("sent", Math.min(loaded, file.size), file.size);
    request.onload = () => (request.status === 200 ? resolve() : reject(new Error(`the upload was refused: HTTP ${request.status}`)));
    request.onerror = () => reject(new Error("the upload broke off"));
    request.open("POST", `/large-file-upload/files/${upload}`);
    request.send(file);
  });
}

function sample() {
  const bytes = new Uint8Array(SAMPLE_BYTES);
  for (let at = 0; at < SAMPLE_BYTES; at += RANDOM_BYTES) crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES));
  return new Blob([bytes]);
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    const [file] = $("chosen").files;
    if (!file) throw new Error("choose a file first");
    await upload(file);
  });
});
$("sample").addEventListener("click", () => run(() => upload(sample())));
