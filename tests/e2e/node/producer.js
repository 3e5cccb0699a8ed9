// Publishes tree values of every type with @grpc/grpc-js, from the protos alone.
// usage: node producer.js ADDRESS INCLUDE...
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, ...includeDirs] = process.argv.slice(2);
const definition = loader.loadSync("rat/v1/producer.proto", { includeDirs, longs: String, keepCase: true });
const { rat } = grpc.loadPackageDefinition(definition);
const client = new rat.v1.ProducerService(address, grpc.credentials.createInsecure());

const values = [
  { null_value: "NULL_VALUE" },
  { bool_value: true },
  { int_value: "-9223372036854775808" },
  { uint_value: "18446744073709551615" },
  { double_value: 1.0 },
  { string_value: "a\nb\u2028 \u{1f600}" },
  { bytes_value: Buffer.from([0, 255]) },
  { timestamp_value: { seconds: "1767323045", nanos: 678901000 } },
  { list_value: { items: [{ int_value: 1 }, { list_value: {} }] } },
  { map_value: { entries: { a: { double_value: 0.5 }, b: { map_value: { entries: {} } } } } },
];

const call = client.PublishStream();
const answers = [];
call.on("data", (answer) => answers.push(answer));
call.on("error", (error) => { console.error(error.message); process.exit(1); });
call.on("end", () => { console.log(JSON.stringify(answers)); client.close(); });
call.write({ stream: "node", records: values.map((value) => ({ value, key: "k", event: "from-node" })) });
call.write({ records: [{ value: {} }] });
call.write({ records: [{ value: { string_value: "after a refusal" } }] });
call.end();
