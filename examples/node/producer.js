// Publishes a typed value of every kind with @grpc/grpc-js, from the protos alone, and prints the answers: one a request.
// A request that is refused gets its reason, and the call goes on.
//
//   npm install && node producer.js 127.0.0.1:50051 readings
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const address = process.argv[2] ?? process.env.RATSVC_GRPC ?? "127.0.0.1:50051";
const stream = process.argv[3] ?? "readings";
const includeDirs = [path.join(__dirname, "../../protos"), __dirname];
const definition = loader.loadSync("rat/v1/producer.proto", { includeDirs, longs: String, keepCase: true });
const { rat } = grpc.loadPackageDefinition(definition);
const client = new rat.v1.ProducerService(address, grpc.credentials.createInsecure());

// Integers beyond 2^53 are given as strings: a JavaScript number would round them.
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
call.on("data", (answer) => console.log(JSON.stringify(answer)));
call.on("error", (error) => { console.error(error.message); process.exitCode = 1; client.close(); });
call.on("end", () => client.close());
call.write({ stream, records: values.map((value) => ({ value, key: "k", event: "from-node" })) });
call.write({ records: [{ value: {} }] }); // refused: a value must have a kind
call.write({ records: [{ value: { string_value: "after a refusal" } }] });
call.end();
