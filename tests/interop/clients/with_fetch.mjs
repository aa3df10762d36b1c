// Usage: with_fetch.mjs URL. What Node's fetch with a cookie jar does with our cookie: prints the statuses, then how many it
// holds. The certificate authority comes by NODE_EXTRA_CA_CERTS.
import { createRequire } from "node:module";

const require = createRequire(process.env.MODULES + "/");
const { default: makeFetchCookie } = require("fetch-cookie");
const { CookieJar } = require("tough-cookie");

const url = process.argv[2];
const jar = new CookieJar();
const ask = makeFetchCookie(fetch, jar);
const statuses = [];
for (const [path, options] of [
  ["/cart", {}],
  ["/login", { method: "POST", body: "alice" }],
  ["/cart", {}],
  ["/session", { method: "DELETE", headers: { Origin: url } }],
  ["/cart", {}],
]) {
  const answer = await ask(url + path, options);
  await answer.arrayBuffer();
  statuses.push(answer.status);
}
console.log(...statuses, (await jar.getCookies(url)).length);
