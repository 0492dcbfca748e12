"""The rules of Aliyun 语音服务 for IvrCall: who may call whom, with which words and keys. ASSUMPTION marks what we chose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from .acs3 import Refused
from .provider import Request

CALLEE_LIMITS = ((1, 60.0), (5, 3600.0), (20, 86400.0))  # calls to one number, those that failed too
CALLS_PER_SECOND = 100  # of one account, for IvrCall
MAX_TTS_PARAMS = 250  # characters; fewer than that
STATUSES = {"InvalidAccessKeyId.NotFound": 404, "InternalError": 500, "ServiceUnavailable": 503}  # of the gateway, else 400


@dataclass(frozen=True, slots=True)
class VmsAccount:
    """One contract with the provider, and how the people behave whom it calls. The defaults are made up."""

    access_key_id: str = "simulated-key"
    access_key_secret: str = field(default="simulated-secret", repr=False)
    callback: str = field(default="", repr=False)  # where reports are pushed; "" = nowhere
    show_numbers: tuple[str, ...] = ("15400000000",)  # bought numbers
    templates: Mapping[str, str] = field(default_factory=dict)  # code → text with ${name}; empty = any code, its values are read
    prefixes: tuple[str, ...] = ("154", "194")  # numbers no carrier has given out to a person: all others are refused
    press_share: float = 0.7  # of the calls: answered, and the menu's first key pressed
    hear_share: float = 0.1  # answered, no key; of the rest a third each: busy, no answer, off
    press_ending: str = ""  # numbers with this ending always press
    hear_ending: str = ""  # … always listen and never press
    wrong_ending: str = ""  # … always press a key that the menu does not have
    silent_ending: str = ""  # … never answer
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What one IvrCall asks for."""

    caller: str
    callee: str
    text: str
    keys: tuple[str, ...]
    play_times: int
    out_id: str


def read_order(parameters: Mapping[str, str], account: VmsAccount) -> Order:
    """The order that these parameters are, checked by the rules of IvrCall. Raises Refused."""
    for name in ("CalledShowNumber", "CalledNumber", "StartCode"):
        if not parameters.get(name):
            raise Refused(f"Missing{name}", 400)
    callee, out_id, times = parameters["CalledNumber"], parameters.get("OutId", ""), parameters.get("PlayTimes", "1")
    # ASSUMPTION: a number that was not bought is an illegal number to show; other doors have a code of their own for it.
    if parameters["CalledShowNumber"] not in account.show_numbers:
        raise Refused("isv.DISPLAY_NUMBER_ILLEGAL")
    # ASSUMPTION: eleven digits without +86, as the examples show.
    if not (re.fullmatch(r"1[0-9]{10}", callee) and callee.startswith(account.prefixes)):
        raise Refused("isv.MOBILE_NUMBER_ILLEGAL")
    if times not in ("1", "2", "3") or ("OutId" in parameters and not 1 <= len(out_id.encode()) <= 15):
        raise Refused("isv.INVALID_PARAMETERS")
    keys = tuple(_keys(parameters))
    if len(set(keys)) < len(keys) or not all(re.fullmatch(r"[0-9*#]", key) for key in keys):
        raise Refused("isv.INVALID_PARAMETERS")
    text = _spoken(parameters["StartCode"], _tts_params(parameters.get("StartTtsParams", "")), account.templates)
    return Order(parameters["CalledShowNumber"], callee, text, keys, int(times), out_id)


def parameters_of(request: Request) -> dict[str, str]:
    """Of the query, and of a form in the body."""
    pairs = parse_qsl(request.query, keep_blank_values=True)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs += parse_qsl(request.body.decode("ascii", "replace"), keep_blank_values=True)
    return dict(pairs)


def _keys(parameters: Mapping[str, str]) -> Iterator[str]:
    """The menu's keys: a list of objects, flattened as the provider's own clients send it (MenuKeyMap.1.Key), or as JSON."""
    if "MenuKeyMap" in parameters:
        menu = _json(parameters["MenuKeyMap"])
    else:
        menu = [{"Key": value} for name, value in parameters.items() if re.fullmatch(r"MenuKeyMap\.[1-9][0-9]*\.Key", name)]
    if not menu:
        raise Refused("MissingMenuKeyMap", 400)
    if not isinstance(menu, list):
        raise Refused("isv.INVALID_JSON_PARAM")
    for one in menu:
        if not (isinstance(one, dict) and isinstance(one.get("Key"), str)):
            raise Refused("isv.INVALID_JSON_PARAM")
        yield one["Key"]


def _tts_params(text: str) -> dict[str, str]:
    if len(text) >= MAX_TTS_PARAMS:
        raise Refused("isv.PARAM_LENGTH_LIMIT")
    values = _json(text) if text else {}
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise Refused("isv.INVALID_JSON_PARAM")  # only strings are taken as values
    return values


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("isv.INVALID_JSON_PARAM") from None


def _spoken(code: str, values: Mapping[str, str], templates: Mapping[str, str]) -> str:
    """What the callee hears."""
    if not templates:
        return " ".join(values.values()) or f"({code})"
    if code not in templates:
        raise Refused("isv.TTS_TEMPLATE_ILLEGAL")
    template = templates[code]
    if set(re.findall(r"\$\{(\w+)\}", template)) - values.keys():
        raise Refused("isv.TEMPLATE_MISSING_PARAMETERS")
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], template)
