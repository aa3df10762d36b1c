"""Usage: with_requests.py URL CA_FILE. What the cookie jar of Python's requests does with our cookie: prints the statuses,
then how many it holds."""

import sys

import requests

url, authority = sys.argv[1:]
http = requests.Session()
http.verify = authority
http.trust_env = False

statuses = [
    http.get(url + "/cart"),
    http.post(url + "/login", data="alice"),
    http.get(url + "/cart"),
    http.delete(url + "/session", headers={"Origin": url}),
    http.get(url + "/cart"),
]
print(*(answer.status_code for answer in statuses), len(http.cookies))
