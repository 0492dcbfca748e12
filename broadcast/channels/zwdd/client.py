"""The signed client that both 浙政钉 channels share: the token, the envelope, and the look-up of accounts ahead of time."""

from __future__ import annotations

import logging
import re
import threading
import time
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FilePath, HttpUrl, SecretStr, StringConstraints

from ...errors import ChannelError, InDoubt, Misconfigured, Unavailable
from .. import http
from .answers import Envelope, Meaning, error_of, open_envelope
from .signing import Parameters, pairs, signed_headers

log = logging.getLogger(__name__)

TOKEN_PATH = "/gettoken.json"  # noqa: S105 - a path
LOOK_UP_PATH = "/mozi/employee/get_by_mobiles"
LOOK_UP_AT_ONCE = 50  # mobiles, the platform's limit
REFRESH_BEFORE = 600.0  # seconds before a token ends
FORM = "application/x-www-form-urlencoded; charset=utf-8"

Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]


class ZwddOptions(BaseModel):
    """What a `[[peer]]` of either protocol may say. The platform's host sits on the government's own network."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl  # e.g. https://openplatform-pro.ding.zj.gov.cn
    app_key: Word = Field(repr=False)
    app_secret: SecretStr = Field(min_length=1)
    tenant_id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]  # 196729 is 浙政钉's in public code
    # ASSUMPTION: a call carries access_token as one more signed parameter. Public clients do it both ways, and no public
    # document says that the signature alone will do. False: no token is fetched.
    with_token: bool = True
    doubt_seconds: int = Field(300, ge=1, le=86_400)
    ip: Word = "127.0.0.1"  # what the platform's own signer says about the caller; not signed
    mac: Word = "00:00:00:00:00:00"
    ca_file: FilePath | None = None
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    refresh_at: float  # by the monotonic clock
    ends_at: float


class Client:
    """One app of the platform."""

    def __init__(self, options: ZwddOptions) -> None:
        self._options = options
        self._url = str(options.url).rstrip("/")
        self._fetching = threading.Lock()
        self._token: _Token | None = None
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def post(self, path: str, parameters: Parameters) -> Envelope:
        """One call. A refusal is an envelope; raises as `http.post`, and Unavailable when no token could be had.

        A token that the platform does not take is fetched anew, once: it was refused at the door, nothing was taken.
        """
        if not self._options.with_token:
            return self._post(path, parameters)
        token = self._valid_token()
        try:
            envelope = self._post(path, {**parameters, "access_token": token.value})
            if envelope.meaning is not Meaning.TOKEN:
                return envelope
        except Misconfigured:  # a refusal by HTTP status does not say whether it is for the token
            log.info("zwdd: refused by HTTP status; once more with a new access token")
        self._forget(token)
        return self._post(path, {**parameters, "access_token": self._valid_token().value})

    def look_up(self, mobiles: Sequence[str]) -> dict[str, str]:
        """E.164 → accountId, for those that have one. For the roster, ahead of time: never while an alert waits.

        Raises Unavailable where it can be asked again, else as `post`.
        """
        national = [match[1] for match in map(_MOBILE.fullmatch, dict.fromkeys(mobiles)) if match]
        found: dict[str, str] = {}
        for start in range(0, len(national), LOOK_UP_AT_ONCE):
            found.update(self._accounts(national[start : start + LOOK_UP_AT_ONCE]))
        return found

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def _accounts(self, mobiles: Sequence[str]) -> Iterable[tuple[str, str]]:
        wanted = {"areaCode": "86", "namespace": "local", "tenantId": self._options.tenant_id, "mobiles": ",".join(mobiles)}
        try:
            envelope = self.post(LOOK_UP_PATH, wanted)
        except InDoubt as error:  # a question can be asked twice
            raise Unavailable(f"the accounts could not be looked up: {error}") from None
        if envelope.meaning is not Meaning.TAKEN:
            raise error_of(envelope)
        entries = envelope.data if isinstance(envelope.data, list) else []
        known = (_entry(entry) for entry in entries)
        return [(f"+86{mobile}", account) for mobile, account in known if mobile in mobiles and account]

    def _post(self, path: str, parameters: Parameters) -> Envelope:
        return http.post(
            self._client,
            self._url + path,
            content=urllib.parse.urlencode(list(pairs(parameters))).encode(),
            headers={"Content-Type": FORM} | self._headers("POST", path, parameters),
            read=open_envelope,
            seconds=self._options.read_seconds,
        )

    def _headers(self, method: str, path: str, parameters: Parameters) -> dict[str, str]:
        options = self._options
        secret = options.app_secret.get_secret_value()
        return signed_headers(options.app_key, secret, method, path, parameters, ip=options.ip, mac=options.mac)

    def _valid_token(self) -> _Token:
        """The token, fetched by one thread while the others wait. Processes need not share it: while it is valid the
        platform gives everybody the same one.
        """
        token = self._token
        if token and time.monotonic() < token.refresh_at:
            return token
        with self._fetching:
            token = self._token
            if token and time.monotonic() < token.refresh_at:
                return token
            self._token = self._fetched_or(token)
            return self._token

    def _fetched_or(self, old: _Token | None) -> _Token:
        try:
            return self._fetch()
        except ChannelError as error:
            if old and time.monotonic() < old.ends_at:  # refreshed early so that this does not matter yet
                log.warning("zwdd: the access token could not be refreshed (%s); the old one still holds", error)
                return old
            if isinstance(error, InDoubt):  # it is the token that is in doubt; the message has not left
                raise Unavailable(f"no access token: {error}") from None
            raise

    def _fetch(self) -> _Token:
        """GET with the key and the secret in the query: the platform's rule. They stand in no URL that anybody logs."""
        asked = {"appkey": self._options.app_key, "appsecret": self._options.app_secret.get_secret_value()}
        started = time.monotonic()
        envelope = http.get(
            self._client,
            self._url + TOKEN_PATH,
            query=urllib.parse.urlencode(list(pairs(asked)), quote_via=urllib.parse.quote),
            headers=self._headers("GET", TOKEN_PATH, asked),
            read=open_envelope,
            seconds=self._options.read_seconds,
        )
        if envelope.meaning is not Meaning.TAKEN:
            raise error_of(envelope)
        value, lasts = _granted(envelope.data)
        return _Token(value, started + max(lasts - REFRESH_BEFORE, lasts / 2), started + lasts)

    def _forget(self, token: _Token) -> None:
        with self._fetching:
            if self._token is token:  # else another thread has fetched a new one already
                self._token = None


_MOBILE = re.compile(r"\+86(1[0-9]{10})")
_LISTED = re.compile(r"(?:\+?86-?)?(1[0-9]{10})")
ACCOUNT = re.compile(r"[1-9][0-9]{0,18}")  # the platform's accountId is a Java long
# "sim:zwdd:…" is a person of the synthetic roster; only simulated peers are ever handed one.
ADDRESS = re.compile(rf"{ACCOUNT.pattern}|sim:zwdd:[A-Za-z0-9_-]{{1,40}}")
_TOKEN = re.compile(r"[!-~]{1,512}")


def _entry(entry: object) -> tuple[str, str]:
    if not isinstance(entry, dict):
        return "", ""
    mobile = _LISTED.fullmatch(str(entry.get("mobile", "")))
    account = str(entry.get("accountId", ""))
    return (mobile[1] if mobile else "", account if ACCOUNT.fullmatch(account) else "")


def _granted(data: object) -> tuple[str, float]:
    """The token and how many seconds it lasts; some answers write the number as text."""
    found = data if isinstance(data, dict) else {}
    value, lasts = found.get("accessToken"), str(found.get("expiresIn", ""))
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or not re.fullmatch(r"[0-9]{1,7}", lasts):
        raise Misconfigured("the platform gave no access token: check the peer's url, app_key and app_secret")
    return value, float(lasts)
