// Usage: with_jose.mjs JWKS_URL AUDIENCE JWT. Verifies the JWT with jose by the published keys, prints its subject.
import { createRequire } from "node:module";

const require = createRequire(process.env.MODULES + "/");
const { createRemoteJWKSet, jwtVerify } = await import(require.resolve("jose"));

const [url, audience, jwt] = process.argv.slice(2);
const { payload } = await jwtVerify(jwt, createRemoteJWKSet(new URL(url)), { audience });
console.log(payload.sub);
