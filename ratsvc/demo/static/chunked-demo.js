// Reads a response piece by piece: a line of text that says how large the picture is, then its pixels, which are
// drawn as they come.

import { $, ask, hex, make, number, pieces, run } from "/demos/frame.js";

const SHOWN_BYTES = 8;

async function read(path, onBytes) {
  $("list").replaceChildren();
  $("text").textContent = "";
  for (const id of ["first", "last"]) $(id).textContent = "–";
  const began = performance.now();
  let count = 0;
  for await (const piece of pieces(await ask(path))) {
    const after = number(performance.now() - began);
    count += 1;
    if (count === 1) $("first").textContent = after;
    $("last").textContent = after;
    $("pieces").textContent = count;
    $("list").append(make("li", {}, make("time", {}, `${after} ms`), make("span", {}, `${number(piece.length)} bytes: ${shown(piece)}`)));
    $("list").scrollTop = $("list").scrollHeight;
    onBytes(piece);
  }
}

function shown(piece) {
  const isText = piece.every((byte) => byte === 10 || (byte >= 32 && byte < 127));
  if (isText) return JSON.stringify(new TextDecoder().decode(piece));
  return hex(piece.subarray(0, SHOWN_BYTES)) + (piece.length > SHOWN_BYTES ? " …" : "");
}

// A picture that grows: the head (P6 width height 255), then three bytes a pixel.
class Picture {
  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), head: "", image: null, at: 0 });
    this.context.clearRect(0, 0, canvas.width, canvas.height);
  }

  add(bytes) {
    for (const byte of bytes) {
      if (this.image) this.addByte(byte);
      else if (byte === 10) this.begin();
      else this.head += String.fromCharCode(byte);
    }
    if (this.image) this.context.putImageData(this.image, 0, 0);
  }

  begin() {
    const [format, width, height] = this.head.split(" ");
    if (format !== "P6") throw new Error(`not a picture: ${this.head}`);
    Object.assign(this.canvas, { width, height });
    this.image = this.context.createImageData(Number(width), Number(height));
    $("text").textContent = `the text said: ${this.head}`;
  }

  addByte(byte) {
    const pixel = Math.floor(this.at / 3), colour = this.at % 3;
    this.image.data[4 * pixel + colour] = byte;
    this.image.data[4 * pixel + 3] = 255;
    this.at += 1;
  }

  get isWhole() {
    return this.image !== null && this.at === (this.image.data.length / 4) * 3;
  }
}

async function paint() {
  const picture = new Picture($("picture"));
  await read("/chunked-demo/picture", (bytes) => picture.add(bytes));
  if (!picture.isWhole) throw new Error("the picture broke off");
}

async function readMapping() {
  const decoder = new TextDecoder();
  let text = "";
  await read("/chunked-demo/mapping", (bytes) => (text += decoder.decode(bytes, { stream: true })));
  $("text").textContent = text;
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(paint);
});
$("mapping").addEventListener("click", () => run(readMapping));
