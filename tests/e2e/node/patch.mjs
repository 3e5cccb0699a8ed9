// Applies operations with client-more.js: reads [document, operations] pairs, and prints [what they make, what the
// document is then], or an error's message.
// usage: node patch.mjs PAIRS
import { patched } from "../../../ratsvc/web/client/client-more.js";

const found = JSON.parse(process.argv[2]).map(([document, operations]) => {
  try {
    return [operations.reduce(patched, document), document];
  } catch ({ message }) {
    return message;
  }
});
console.log(JSON.stringify(found));
