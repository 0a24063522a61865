// Reads expressions (a JSON array of texts) from standard input; writes, for each, the metrics it names, or fails at the first error.
// Run with the directory of the installed parser as argument.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const { parser } = createRequire(process.argv[2] + "/")("@prometheus-io/lezer-promql");

const metrics = JSON.parse(readFileSync(0, "utf8")).map((text) => {
  const names = new Set();
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) {
        console.error(`PromQL: an error at ${node.from} of: ${text}`);
        process.exit(1);
      }
      if (node.name === "VectorSelector" && node.node.firstChild.name === "Identifier") {
        names.add(text.slice(node.node.firstChild.from, node.node.firstChild.to));
      }
    },
  });
  return [...names];
});
console.log(JSON.stringify(metrics));
