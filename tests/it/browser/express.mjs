// An application of express-session: answers with its cookie and with the session id that it took from the request's.
// Usage: node express.mjs NODE_MODULES SECRETS ID, with SECRETS separated by commas; says where it listens as Cloakroom's log does.
import { createRequire } from "node:module";

const [modules, secrets, id] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const express = require("express");
const session = require("express-session");

const application = express();
application.use(session({ secret: secrets.split(","), genid: () => id, resave: true, saveUninitialized: true }));
application.get("/", (request, response) => {
  request.session.views = (request.session.views ?? 0) + 1;
  response.json({ id: request.sessionID, views: request.session.views });
});
const server = application.listen(0, "127.0.0.1", () => {
  const address = `127.0.0.1:${server.address().port}`;
  console.log(JSON.stringify({ message: "listening", listener: "traffic", address }));
});
