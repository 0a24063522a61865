"""Signs up, proves the address, refreshes, and creates a user with an API key, through the generated client."""

import json
import os
import time
import urllib.parse
import urllib.request

from qeetid_client import AuthenticatedClient, Client
from qeetid_client.api.account import get_me
from qeetid_client.api.authentication import login, refresh, signup
from qeetid_client.api.users import create_user
from qeetid_client.api.verification import confirm_email_verification, start_email_verification
from qeetid_client.models import (
    CodeRequest,
    CodeStarted,
    CreateUserRequest,
    ErrorBody,
    LoginRequest,
    Message,
    NewAccount,
    RefreshRequest,
    SignupRequest,
    TokenPair,
    User,
)

BASE = os.environ["SDK_BASE"]
KEY = os.environ["SDK_KEY"]
EMAIL = f"python-{os.getpid()}@example.com"
PASSWORD = f"violet harbour {os.getpid()} tangent"


def code() -> str:
    for _ in range(200):
        with urllib.request.urlopen(f"{BASE}/dev/mailbox/messages?to={urllib.parse.quote(EMAIL)}") as reply:
            for message in json.load(reply)["items"]:
                if message["code"]:
                    return str(message["code"])
        time.sleep(0.1)
    raise AssertionError("no code was mailed")


api = Client(base_url=BASE)
account = signup.sync(client=api, body=SignupRequest(email=EMAIL, password=PASSWORD, display_name="Ada"))
assert isinstance(account, NewAccount), account
person = AuthenticatedClient(base_url=BASE, token=account.access_token)
started = start_email_verification.sync(client=person, id=account.user_id)
assert isinstance(started, CodeStarted) and started.code_length == 6, started
confirmed = confirm_email_verification.sync(client=person, id=account.user_id, body=CodeRequest(code=code()))
assert isinstance(confirmed, Message), confirmed
me = get_me.sync(client=person)
assert isinstance(me, User) and me.email_verified_at is not None and me.phone is None, me

pair = refresh.sync(client=api, body=RefreshRequest(refresh_token=account.refresh_token))
assert isinstance(pair, TokenPair) and pair.refresh_token != account.refresh_token, pair

server = AuthenticatedClient(base_url=BASE, token=KEY, prefix="ApiKey")
made = create_user.sync(client=server, body=CreateUserRequest(email=f"made-by-{EMAIL}", password=PASSWORD))
assert isinstance(made, User) and made.email == f"made-by-{EMAIL}" and made.email_verified_at is None, made
entered = login.sync(client=api, body=LoginRequest(email=f"made-by-{EMAIL}", password=PASSWORD))
assert isinstance(entered, TokenPair), entered

wrong = login.sync(client=api, body=LoginRequest(email=EMAIL, password="not the password"))
assert isinstance(wrong, ErrorBody) and wrong.error.code == "invalid_credentials", wrong
print(f"python: {me.email} verified, a user created")
