"""A workflow's schedules in Prefect: what the definition says, kept through deploys; and times that were missed.

A schedule is known in Prefect by its slug, `schedule-N`, for the N-th schedule of the definition. One that is there and
says the same is left as it is: to make it anew would begin it anew, and would forget that somebody paused it in the UI.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from flows.language.definition import Declaration, Schedule

ANCHOR: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""What `every` counts from: a Monday's midnight, the same at every deploy. Prefect's own default is the deploy."""
LATE_SECONDS: Final = 8.0
"""A run that is fetched this long after its time was missed: whoever should have run it was not there. Workers look for
runs of schedules, which Prefect does not announce, every few seconds."""
SKIPPED_AFTER_SECONDS: Final = 60.0
"""With `missed: skip`, how late a run may still start."""
_SLUG: Final = "schedule-"

PrefectSchedule: TypeAlias = CronSchedule | IntervalSchedule


def declared_schedules(declaration: Declaration) -> list[DeploymentScheduleCreate]:
    """The definition's schedules, as Prefect is told of them."""
    return [
        DeploymentScheduleCreate(schedule=_in_prefect(one), active=True, slug=f"{_SLUG}{number}")
        for number, one in enumerate(_schedules(declaration), 1)
    ]


def declared_schedule(declaration: Declaration, flow_run: FlowRun) -> Schedule | None:
    """The schedule that made this run; None when the definition has it no more, or somebody else made the run."""
    maker = flow_run.created_by
    slug = maker.display_value if maker and maker.type == "SCHEDULE" else None
    number = (slug or "").removeprefix(_SLUG)
    schedules = _schedules(declaration)
    return schedules[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(schedules) else None


def missing_schedules(
    declaration: Declaration, present: Sequence[DeploymentSchedule]
) -> list[DeploymentScheduleCreate]:
    """Those that Prefect has not, in whatever form."""
    slugs = {one.slug for one in present}
    unnamed = [_times(one.schedule) for one in present if one.slug is None]  # as earlier versions made them
    return [
        one for one in declared_schedules(declaration) if one.slug not in slugs and _times(one.schedule) not in unnamed
    ]


async def set_schedules(
    client: PrefectClient, deployment_id: UUID, declaration: Declaration, present: Sequence[DeploymentSchedule]
) -> bool:
    """Makes Prefect's schedules those of the definition; False when they were."""
    wanted = {one.slug: one for one in declared_schedules(declaration)}
    by_slug = {one.slug: one for one in present if one.slug in wanted}
    changed = False
    for extra in present:
        if by_slug.get(extra.slug) is not extra:
            await client.delete_deployment_schedule(deployment_id, extra.id)
            changed = True
    for slug, one in by_slug.items():
        if one.schedule != wanted[slug].schedule:
            await client.update_deployment_schedule(deployment_id, one.id, schedule=wanted[slug].schedule)
            changed = True
    if missing := [one for slug, one in wanted.items() if slug not in by_slug]:
        await client.create_deployment_schedules(deployment_id, missing)
        changed = True
    return changed


def missed_runs(schedule: Schedule, due: Sequence[FlowRun], now: datetime) -> list[FlowRun]:
    """Which of a schedule's runs that are due are not to run, by its `missed`."""
    by_time = sorted(due, key=lambda run: run.expected_start_time or now)
    if schedule.missed == "all":
        return []
    if schedule.missed == "skip":
        return [run for run in by_time if _seconds_late(run, now) > SKIPPED_AFTER_SECONDS]
    return [run for run in by_time[:-1] if _seconds_late(run, now) > LATE_SECONDS]


def _seconds_late(run: FlowRun, now: datetime) -> float:
    return now.timestamp() - run.expected_start_time.timestamp() if run.expected_start_time else 0.0


def _schedules(declaration: Declaration) -> list[Schedule]:
    return [trigger for trigger in declaration.triggers if isinstance(trigger, Schedule)]


def _times(schedule: object) -> tuple[object, ...]:
    """When it is due, but for what it is counted from."""
    return tuple(getattr(schedule, name, None) for name in ("cron", "interval", "rrule"))


def _in_prefect(schedule: Schedule) -> PrefectSchedule:
    if schedule.cron is not None:
        return CronSchedule(cron=schedule.cron, timezone=schedule.timezone or "UTC")
    return IntervalSchedule(interval=timedelta(seconds=schedule.every or 0), anchor_date=ANCHOR, timezone="UTC")
