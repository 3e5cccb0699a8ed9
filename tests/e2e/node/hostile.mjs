// Reads URL?n=0, n=1, … each with its format, and prints the errors that came.
// usage: node hostile.mjs URL FORMATS
import { subscribe } from "../../../ratsvc/web/client/client.js";

const [url, formats] = process.argv.slice(2), found = [];
for (const [n, format] of JSON.parse(formats).entries()) {
  try {
    for await (const record of subscribe(`${url}?n=${n}`, { format, retries: 0 })) found.push({ name: "record", n, record: String(record.value) });
  } catch ({ name, status, message }) {
    found.push({ n, name, status, message });
  }
}
console.log(JSON.stringify(found));
