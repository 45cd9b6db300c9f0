// Verdicts by Ajv, as mim_bench::validator::peer asks for them.
const fs = require("fs");
const path = require("path");
const readline = require("readline");
const Ajv = require("ajv/dist/2020").default;
const addFormats = require("ajv-formats").default;

const data = process.argv[2];
const lines = (name) => fs.readFileSync(path.join(data, name), "utf8").trim().split("\n").map((line) => JSON.parse(line));
const entities = lines("entities.ndjson").map(({ model, entity }) => [model, Buffer.from(JSON.stringify(entity))]);
const types = 1 + Math.max(...entities.map(([model]) => model));
const ajv = new Ajv({ strict: false });
addFormats(ajv);
const validators = lines("models.ndjson").slice(0, types).map((model) => ajv.compile(model.normalized));
const judge = ([model, bytes]) => validators[model](JSON.parse(bytes.toString("utf8")));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "verdicts") {
    console.log(entities.map((entity) => (judge(entity) ? "1" : "0")).join(""));
    return;
  }
  const end = process.hrtime.bigint() + BigInt(Math.round(Number(line) * 1e9));
  const before = process.cpuUsage();
  let count = 0;
  while (process.hrtime.bigint() < end) {
    for (const entity of entities) {
      judge(entity);
      count += 1;
    }
  }
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ count, cpu: (user + system) / 1e6 }));
});
