// Runs the Express application of docs/from-express-session.md as it stands there.
// Usage: node guide.mjs NODE_MODULES GUIDE; says where it listens as Cloakroom's log does.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, guide] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const express = require("express");

const [, code] = readFileSync(guide, "utf8").match(/```js\n([^]*?)```/);
const app = express();
new Function("app", "session", code)(app, require("express-session"));
const server = app.listen(0, "127.0.0.1", () => {
  const address = `127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ message: "listening", listener: "traffic", address }));
});
