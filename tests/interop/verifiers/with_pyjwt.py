"""Usage: with_pyjwt.py JWKS_URL AUDIENCE JWT. Verifies the JWT with PyJWT by the published keys, prints its subject."""

import sys

import jwt

url, audience, token = sys.argv[1:]
key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
claims = jwt.decode(token, key, algorithms=[key.algorithm_name], audience=audience, options={"require": ["exp", "iat", "sub"]})
print(claims["sub"])
