"""Runs one verb: reserve -> steps with journal -> commit; a failure runs the undos backwards.

A plan is rebuilt from its stored operation, so that the next daemon can finish or undo what this one began.
The `done` mark of a step is written together with the `begun` mark of the next: one durable write per step.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from yurt.engine.events import EventBus
from yurt.engine.failpoints import hit
from yurt.engine.records import Records, Writes, now, put_operation
from yurt.errors import Internal, NotFound, Timeout, Unavailable, WrongState, YurtError, to_document
from yurt.host.space import full_disk_told
from yurt.model.operation import ErrorDocument, Operation, OperationStatus, Progress

log = logging.getLogger("yurt.operation")
PROGRESS_INTERVAL_S = 0.1


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One journaled step. `do` and `undo` must be safe to repeat, as a crash may come at any instruction."""

    name: str
    text: str
    do: Callable[[], Awaitable[None]]
    undo: Callable[[], Awaitable[None]] | None = None


class Cancelled(YurtError):
    """the operation was cancelled"""

    code, http, exit = "wrong_state", 409, 5


class Plan:
    """What a verb does. Subclasses say how; `Operations` runs it.

    `redo`: after a crash the rest of the steps is run (stop, delete); otherwise what was done is undone.
    """

    verb: ClassVar[str]
    redo: ClassVar[bool] = False
    report: Progress
    operation_id: str

    def begin(self) -> Writes:
        """Check that the verb may run now, and give the writes that claim its target. Raises to refuse."""
        raise NotImplementedError

    def steps(self) -> list[Step]:
        """The steps in order. Pure: the same operation gives the same names."""
        raise NotImplementedError

    def commit(self) -> Writes:
        """The writes that make the result visible, together with the operation's end."""
        return []

    def rollback(self, error: YurtError) -> Writes:
        """The writes that let go of the target after a failure."""
        return []

    def result(self) -> dict[str, object]:
        """Facts for the operation's `result`."""
        return {}

    async def ended(self, operation: Operation) -> None:
        """Called once the end is recorded."""


PlanFactory = Callable[[Operation], Plan]


class Operations:
    """Begins, runs, recovers and waits for operations. `disk` is where they write, for when it becomes full."""

    def __init__(
        self, records: Records, bus: EventBus, factories: dict[str, PlanFactory], disk: Path
    ) -> None:
        self._records, self._bus, self._factories, self._disk = records, bus, factories, disk
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reported: dict[str, float] = {}
        self._closing = False

    async def begin(self, verb: str, target: str, target_id: str, arguments: dict[str, object]) -> Operation:
        """Claim the target and start the steps; returns at once."""
        operation = Operation(
            id=secrets.token_hex(6),
            verb=verb,
            target=target,
            target_id=target_id,
            arguments=arguments,
            created_at=now(),
        )
        plan = self._plan(operation)
        await self._records.write(
            lambda: [*plan.begin(), put_operation(operation), *self._records.old_operations()]
        )
        self._publish(operation, "begun")
        self._start(operation, plan)
        return operation

    def _plan(self, operation: Operation) -> Plan:
        plan = self._factories[operation.verb](operation)
        plan.operation_id = operation.id
        plan.report = lambda text, fraction: self.report(operation.id, text, fraction)
        return plan

    def _start(self, operation: Operation, plan: Plan) -> None:
        task = asyncio.create_task(self._run(operation.id, plan), name=f"{operation.verb} {operation.target}")
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))

    async def recover(self) -> None:
        """Finish or undo, by verb, everything an earlier daemon left in the middle; returns when all have ended."""
        left = [op for op in self._records.operations.values() if not op.status.ended]
        for operation in sorted(left, key=lambda op: op.created_at):
            if operation.verb not in self._factories:
                continue
            plan = self._plan(operation)
            if plan.redo and operation.status is OperationStatus.RUNNING:
                log.info("finishing %s of %s after a restart", operation.verb, operation.target)
                await self._run(operation.id, plan)
            else:
                log.info("undoing %s of %s after a restart", operation.verb, operation.target)
                error = Unavailable(
                    f"the daemon ended in the middle of {operation.verb}; what was begun has been undone",
                    hint="try again",
                )
                await self._undo(operation.id, plan, error, OperationStatus.FAILED)

    async def _run(self, operation_id: str, plan: Plan) -> None:
        try:
            await self._forward(operation_id, plan)
        except asyncio.CancelledError:
            if self._closing:
                raise  # the journal stands: the next daemon finishes or undoes
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._undo(operation_id, plan, Cancelled(), OperationStatus.CANCELLED)
        except YurtError as error:
            await self._undo(operation_id, plan, error, OperationStatus.FAILED)
        except Exception as error:
            log.exception("operation %s failed", operation_id)
            wrapped = Internal(
                f"{type(error).__name__}: {error}", hint="this is a bug in yurt: please report it"
            )
            await self._undo(operation_id, plan, wrapped, OperationStatus.FAILED)

    async def _forward(self, operation_id: str, plan: Plan) -> None:
        marks: list[str] = []
        for step in plan.steps():
            operation = self._records.operations[operation_id]
            if f"{step.name}:done" in operation.journal:
                continue
            marks.append(f"{step.name}:begun")
            await self._mark(operation, marks, text=step.text)
            hit(f"{plan.verb}.{step.name}.before")
            with full_disk_told(self._disk, step.text):
                await step.do()
            hit(f"{plan.verb}.{step.name}.after")
            marks = [f"{step.name}:done"]
        operation = self._records.operations[operation_id]
        ended = replace(
            operation,
            status=OperationStatus.DONE,
            journal=(*operation.journal, *marks),
            ended_at=now(),
            result=plan.result(),
            step="",
            fraction=1.0,
        )
        await self._records.write(lambda: [*plan.commit(), put_operation(ended)])
        hit(f"{plan.verb}.commit.after")
        await self._finish(ended, plan)

    async def _mark(self, operation: Operation, marks: list[str], *, text: str) -> None:
        operation = replace(operation, journal=(*operation.journal, *marks), step=text, fraction=None)
        await self._records.write(lambda: [put_operation(operation)])
        self._publish(operation, "progress")

    async def _undo(self, operation_id: str, plan: Plan, error: YurtError, status: OperationStatus) -> None:
        operation = replace(
            self._records.operations[operation_id], status=OperationStatus.UNDOING, error=_document(error)
        )
        await self._write_surely(lambda: [put_operation(operation)])
        begun = {mark.partition(":")[0] for mark in operation.journal}
        for step in reversed(plan.steps()):
            if step.undo is None or step.name not in begun or f"{step.name}:undone" in operation.journal:
                continue
            hit(f"{plan.verb}.{step.name}.undo")
            try:
                await step.undo()
            except Exception:
                log.exception("undo of %s.%s failed", plan.verb, step.name)
        ended = replace(
            self._records.operations[operation_id],
            status=status,
            ended_at=now(),
            error=_document(error),
            step="",
        )
        await self._write_surely(lambda: [*plan.rollback(error), put_operation(ended)])
        await self._finish(ended, plan)

    async def _write_surely(self, make: Callable[[], Writes]) -> None:
        try:
            await self._records.write(make)
        except YurtError:
            # the store is full or away: the next daemon start undoes this operation from its journal
            log.exception("could not record the end of an operation")

    async def _finish(self, operation: Operation, plan: Plan) -> None:
        self._reported.pop(operation.id, None)
        self._publish(operation, operation.status.value)
        await plan.ended(operation)

    def report(self, operation_id: str, text: str, fraction: float | None) -> None:
        """Show progress inside a step: kept in memory, published at most ten times a second."""
        operation = self._records.operations.get(operation_id)
        if operation is None or operation.status.ended:
            return
        operation = replace(operation, step=text, fraction=fraction)
        self._records.operations[operation_id] = operation
        moment = time.monotonic()
        if moment - self._reported.get(operation_id, 0.0) >= PROGRESS_INTERVAL_S:
            self._reported[operation_id] = moment
            self._publish(operation, "progress")

    def _publish(self, operation: Operation, what: str) -> None:
        data: dict[str, object] = {
            "operation": operation.id,
            "verb": operation.verb,
            "status": operation.status.value,
            "step": operation.step,
            "fraction": operation.fraction,
        }
        if operation.error is not None:
            data["error"] = msgspec.to_builtins(operation.error)
        self._bus.publish(f"operation.{what}", operation.target, target_id=operation.target_id, data=data)

    def get(self, operation_id: str) -> Operation:
        """Return one operation. Raises NotFound."""
        found = self._records.operations.get(operation_id)
        if found is None:
            raise NotFound(kind="operation", name=operation_id, hint="see `yurt operation ls`")
        return found

    async def wait(self, operation_id: str, timeout_s: float) -> Operation:
        """Return the operation once it has ended, or as it is after `timeout_s` seconds."""
        operation = self.get(operation_id)
        task = self._tasks.get(operation_id)
        if task is not None and not operation.status.ended:
            await asyncio.wait([task], timeout=timeout_s)
        return self.get(operation_id)

    async def cancel(self, operation_id: str) -> Operation:
        """Cancel and undo. Raises WrongState when it has ended, or when its verb can only go forward."""
        operation = self.get(operation_id)
        task = self._tasks.get(operation_id)
        if operation.status.ended or task is None:
            raise WrongState(kind="operation", name=operation_id, actual=operation.status, wanted="running")
        if self._plan(operation).redo:
            raise WrongState(
                f"{operation.verb} cannot be cancelled once it has begun",
                hint=f"look at it with `yurt operation {operation_id}`",
            )
        task.cancel()
        await asyncio.wait([task], timeout=60)
        if not task.done():
            raise Timeout(what="the operation to undo", timeout_s=60.0)
        return self.get(operation_id)

    async def close(self) -> None:
        """Stop running operations where they stand: their journals let the next daemon finish or undo them."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel("daemon stops")
        if tasks:
            await asyncio.wait(tasks, timeout=5)


def _document(error: YurtError) -> ErrorDocument:
    plain = to_document(error)
    return ErrorDocument(str(plain["code"]), str(plain["message"]), str(plain["hint"]))
