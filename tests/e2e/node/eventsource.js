// Reads with the npm `eventsource` package until the end event, and prints what came: one line a record.
// usage: node eventsource.js URL
const { EventSource } = require("eventsource");

const source = new EventSource(process.argv[2]);
source.onmessage = (event) => { if (event.data) console.log(event.data); };
source.addEventListener("gap", (event) => { console.log(`gap ${event.data}`); });
source.addEventListener("end", () => source.close());
