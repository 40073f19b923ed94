#!/usr/bin/python3
"""Signs in as the first account, with the first password, and prints the session token.

usage: sign_in.py PORT
"""

import json
import sys
import urllib.request

body = json.dumps({"username": "admin", "password": "uptime"}).encode()
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/auth/token", body)
print(json.load(urllib.request.urlopen(request))["session_token"])
