// Reads a stream compressed, and prints each piece of text when it can be decoded.
// usage: node compressed.js fetch|http URL
const http = require("node:http");
const zlib = require("node:zlib");

const [how, url] = process.argv.slice(2);

async function byFetch() {
  const response = await fetch(url, { headers: { "accept-encoding": "gzip" } });
  if (response.headers.get("content-encoding") !== "gzip") throw new Error("it is not compressed");
  for await (const piece of response.body) process.stdout.write(piece);
}

function byHttp() {
  http.get(url, { headers: { "accept-encoding": "gzip" } }, (response) => {
    if (response.headers["content-encoding"] !== "gzip") throw new Error("it is not compressed");
    response.pipe(zlib.createGunzip()).pipe(process.stdout);
  });
}

if (how === "fetch") byFetch();
else byHttp();
