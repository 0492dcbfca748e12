"""The stand-in of a county's system for grid workers ("141"): tasks as Standard Webhooks in, what the workers do out.

No public interface of such a system was found. This is the far end of the contract that is proposed to one: the fields and
verbs of the 四平台 round trip (签收, 反馈, 办结, 退回).
"""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from .faults import Faults
from .grid_tasks import Refused, check_task, read_message, superseded
from .provider import Host, Request, Response
from .schedule import Schedule
from .webhook_signature import NotSigned, key_of, sign, verify

AGAIN_SECONDS = (5.0, 30.0, 120.0, 300.0, 900.0, 1800.0)  # a backoff of our choice: the specification only wants one
UNSUBSCRIBED = 410  # the customer wants no more of us
FINAL = (409, UNSUBSCRIBED)  # 409: already final there
STATES = {"task.signed": "signed", "task.done": "done", "task.rejected": "rejected"}

Deed = tuple[float, str, Mapping[str, object]]  # after how many seconds, verb, what is said beside it


@dataclass(frozen=True, slots=True)
class GridAccount:
    """What both sides agreed upon, and how the workers behave. The defaults are made up."""

    secret: str = field(default="whsec_c2ltdWxhdGVkIGdyaWQ6IHRhc2tzIGNvbWluZyBpbg==", repr=False)  # signs tasks
    callback: str = field(default="", repr=False)  # where the workers' verbs are pushed; "" = nowhere
    callback_secret: str = field(default="whsec_c2ltdWxhdGVkIGdyaWQ6IHRhc2tzIGNvbWluZyBpbg==", repr=False)  # signs the verbs
    accounts: str = "sim:grid:"  # how the accounts begin that are known here: they belong to nobody
    refuse_ending: str = ""  # accounts with this ending are unknown, for trying a call with a bad one in it
    signed_share: float = 1.0  # of the tasks: signed for
    done_share: float = 1.0  # of those signed for: fed back, then done
    rejected_share: float = 0.0  # of the tasks: given back, whatever the other shares say
    sign_seconds: float = 20.0
    feedback_seconds: float = 120.0
    done_seconds: float = 240.0
    seed: int = 0


@dataclass(slots=True)
class Task:
    """One task that was taken. Guarded by the platform's lock."""

    task_id: str
    kind: str  # the type of the message that brought it
    fields: Mapping[str, object]
    account: str
    worker: str
    at: datetime
    state: str = "open"  # open, signed, done, rejected, cancelled


class GridPlatform:
    """The system. Shared by threads."""

    name = "grid"

    def __init__(self, account: GridAccount, host: Host) -> None:
        self.account, self.host = account, host
        self._key, self._callback_key = key_of(account.secret), key_of(account.callback_secret)
        self._later = Schedule(host.clock, "grid-workers")
        self._lock = threading.Lock()
        self._numbers = itertools.count(int(host.clock.wall().timestamp() * 1000))  # of what is pushed, over restarts too
        self._messages: set[str] = set()  # webhook-ids that were taken
        self._tasks: dict[str, Task] = {}
        self._counts = {"calls": 0, "reports_pushed": 0, "reports_owed": 0}
        self._unsubscribed = False

    def opens(self, path: str) -> bool:
        """One door for tasks."""
        return path == "/grid/tasks"

    def handle(self, request: Request, faults: Faults) -> Response:
        """Takes a task, its update or its cancelling."""
        try:
            if request.method != "POST":
                raise Refused(405, "POST only")
            number = verify(self._key, request.headers, request.body, self.host.clock.wall())
            if faults.refuse:
                raise Refused(int(faults.refuse) if re.fullmatch("[45][0-9]{2}", faults.refuse) else 422, faults.refuse)
            kind, fields = read_message(request)
            task_id = self._take(number, kind, fields, faults)
        except NotSigned as error:
            return _answer(401, error=str(error))
        except Refused as refusal:
            return _answer(refusal.status, error=refusal.words)
        return _answer(200, taskId=task_id)

    def received(self) -> list[dict[str, object]]:
        """Every task that was taken, in order. Accounts and names belong to nobody."""
        with self._lock:
            return [
                {
                    "kind": task.kind,
                    **{
                        name: task.fields[name]
                        for name in ("taskId", "gridCode", "gridName", "role", "content", "level", "event")
                    },
                    "account": task.account,
                    "name": task.worker,
                    "at": task.at.isoformat(),
                    "state": task.state,
                }
                for task in self._tasks.values()
            ]

    def counts(self) -> dict[str, int]:
        """Messages taken (calls), tasks (targets), verbs that the customer took, and that he did not yet."""
        with self._lock:
            return {**self._counts, "targets": len(self._tasks)}

    def stop(self) -> None:
        """No worker does anything any more."""
        self._later.stop()

    def _take(self, number: str, kind: str, fields: Mapping[str, object], faults: Faults) -> str:
        """The task's number. Raises Refused."""
        task = self._read_task(kind, fields)
        with self._lock:
            if number in self._messages:
                return task.task_id
            if kind == "alert.task.cancelled":
                task.state = "cancelled"
                self._withdraw((task.task_id, *superseded(fields)))
            elif kind == "alert.task.dispatched" and task.task_id in self._tasks:
                raise Refused(409, "this task was dispatched before")
            else:
                self._end((task.task_id, *superseded(fields)))
            # A cancelling under the task's own number leaves the task as it was told to the worker.
            if kind != "alert.task.cancelled" or task.task_id not in self._tasks:
                self._tasks[task.task_id] = task
            self._messages.add(number)
            self._counts["calls"] += 1
        if not faults.delivers_nothing:
            self.host.show(f"📋 {fields['gridName']} {fields['role']} {task.worker}: {fields['content']}")
            if task.state == "open":
                self._work_on(task, faults)
        return task.task_id

    def _read_task(self, kind: str, fields: Mapping[str, object]) -> Task:
        assignee, ending = check_task(fields), self.account.refuse_ending
        account = assignee["account"]
        if not account.startswith(self.account.accounts) or (ending and account.endswith(ending)):
            raise Refused(404, "unknown assignee")
        worker = assignee["name"] if "测" in assignee["name"] else "测网格员"
        return Task(str(fields["taskId"]), kind, fields, account, worker, self.host.clock.wall())

    def _withdraw(self, names: tuple[str, ...]) -> None:
        known = [self._tasks[name] for name in names if name in self._tasks]
        if not known:
            raise Refused(409, "no such task")
        if all(task.state == "cancelled" for task in known):
            raise Refused(409, "cancelled before")
        self._end(names)

    def _end(self, names: tuple[str, ...]) -> None:
        for task in (self._tasks[name] for name in names if name in self._tasks):
            task.state = "cancelled" if task.state in ("open", "signed") else task.state

    def _work_on(self, task: Task, faults: Faults) -> None:
        """What the worker will do. Signatures are of the moment, so nothing is handed to the host before it is due."""
        if faults.no_reports or not self.account.callback:
            return
        deeds = plan(self.account, task.task_id, faults.fail_share)
        if faults.shuffle_reports:
            deeds = [(seconds, *deed[1:]) for (seconds, _, _), deed in zip(deeds, reversed(deeds), strict=True)]
        with self._lock:
            self._counts["reports_owed"] += len(deeds) * (2 if faults.duplicate_reports else 1)
        for seconds, verb, more in deeds:
            do = partial(self._do, task, verb, more, 2 if faults.duplicate_reports else 1)
            if faults.reports_before_answer:
                do()
            else:
                self._later.after(seconds, do)

    def _do(self, task: Task, verb: str, more: Mapping[str, object], times: int) -> None:
        now = self.host.clock.wall()
        with self._lock:
            if task.state == "cancelled":
                self._counts["reports_owed"] -= times
                return
            task.state = STATES.get(verb, task.state) if task.state != "done" else "done"
        data = {"taskId": task.task_id, "by": task.worker, "at": now.isoformat(timespec="seconds"), **more}
        letter = {"type": verb, "timestamp": now.isoformat(timespec="seconds"), "data": data}
        number, body = f"msg_{next(self._numbers)}", json.dumps(letter, ensure_ascii=False).encode()
        for _ in range(times):
            self._try(number, body, list(AGAIN_SECONDS))

    def _try(self, number: str, body: bytes, again: list[float]) -> None:
        """One attempt; the next one is signed anew, because a signature holds for five minutes only."""

        def taken(status: int, _answer: bytes) -> bool:
            done = 200 <= status < 300 or status in FINAL
            with self._lock:
                self._unsubscribed |= status == UNSUBSCRIBED
                self._counts["reports_pushed"] += 200 <= status < 300
                self._counts["reports_owed"] -= done
            if not done and again:
                self._later.after(again[0], partial(self._try, number, body, again[1:]))
            return done

        if self._unsubscribed:
            return
        headers = sign(self._callback_key, number, self.host.clock.wall(), body)
        self.host.push(self.account.callback, body, {"Content-Type": "application/json", **headers}, after=0, taken=taken)


def plan(account: GridAccount, task_id: str, fail_share: float) -> list[Deed]:
    """What the worker of a task does: drawn from the seed and the task, not from what else was going on."""
    chance = random.Random(f"{account.seed}:{task_id}")  # noqa: S311 - who signs is no secret
    rejects, fails, signs, does = (chance.random() for _ in range(4))
    if rejects < account.rejected_share or fails < fail_share:
        return [(account.sign_seconds, "task.rejected", {"reason": "不在本网格"})]
    if signs >= account.signed_share:
        return []
    signed: Deed = (account.sign_seconds, "task.signed", {})
    if does >= account.done_share:
        return [signed]
    households = chance.randint(40, 60)  # a micro-grid has about 52
    counts = {"households": households, "withoutPhone": chance.randint(0, 5), "vulnerable": chance.randint(0, 8)}
    feedback = {"text": f"已上门通知{households}户", **counts, "attachments": []}
    return [
        signed,
        (account.feedback_seconds, "task.feedback", feedback),
        (account.done_seconds, "task.done", {"text": "已全部通知到户"}),
    ]


def _answer(status: int, **fields: str) -> Response:
    return Response(status, body=json.dumps(fields, ensure_ascii=False).encode())
