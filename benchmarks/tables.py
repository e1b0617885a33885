"""The tables of docs/performance.md, made of a report. Each number is the median of the rounds, with its spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from benchmarks.contestants import Work
from benchmarks.cost_model import Prediction, predict
from benchmarks.results import Report, Result, Round, Spread

ONE_OF_EACH = {"gateway": 1, "worker": 1, "Prefect's server": 1, "supervisor": 1, "load generator": 1, "receiver": 1}
"""What `ipaas up` starts, and what measures it."""

RATIOS: Sequence[tuple[str, str, str, Callable[[Round], float]]] = [
    ("runs/s, express ÷ DBOS", "express", "dbos", lambda one: one.one.rate),
    ("the same, both on PostgreSQL", "express-postgres", "dbos-postgres", lambda one: one.one.rate),
    ("runs/s, express ÷ n8n", "express", "n8n", lambda one: one.one.rate),
    ("runs/s, express ÷ standard", "express", "standard", lambda one: one.one.rate),
    ("runs/s, standard ÷ Prefect alone", "standard", "prefect", lambda one: one.one.rate),
    ("idle p50, express ÷ DBOS", "express", "dbos", lambda one: one.idle.p50),
    ("idle p50, standard ÷ DBOS", "standard", "dbos", lambda one: one.idle.p50),
]


def machine(report: Report) -> str:
    rounds = max((len(one.rounds) for one in report.results), default=0)
    how_often = "one round" if rounds == 1 else f"{rounds} rounds; in brackets the least and the most of them"
    return f"Measured on {report.when}: {report.machine}; {how_often}."


def ratios(report: Report) -> str:
    return _table(["ratio", "median of the rounds"], (list(_ratio(report, *one)) for one in RATIOS))


def _ratio(report: Report, what: str, ours: str, theirs: str, number: Callable[[Round], float]) -> tuple[str, str]:
    above, below = report.of(ours), report.of(theirs)
    if not above or not below:
        return what, f"– ({', '.join(key for key in (ours, theirs) if not report.of(key))} was not measured)"
    pairs = zip(above.rounds, below.rounds, strict=False)
    return what, _spread([number(one) / number(other) for one, other in pairs], "×")


def speeds(report: Report) -> str:
    def cells(one: Result) -> list[str]:
        storms = [own.one for own in one.rounds]
        return [
            _ms(one, lambda own: own.idle.p50),
            _ms(one, lambda own: own.idle.p90),
            _ms(one, lambda own: own.answer.p50 if own.answer else None),
            str(storms[-1].events),
            _ms(one, lambda own: own.one.accept_p50),
            _ms(one, lambda own: own.one.accept_p99),
            _of(one, lambda own: own.one.rate),
            _of(one, lambda own: own.three.rate),
        ]

    heads = [
        "idle p50",
        "idle p90",
        "answer p50",
        "storm",
        "accept p50",
        "accept p99",
        "runs/s, 1 step",
        "runs/s, 3 steps",
    ]
    return _of_each(report, heads, cells)


def costs(report: Report) -> str:
    def cells(one: Result) -> list[str]:
        return [
            _of(one, lambda own: own.ready, "s"),
            _of(one, lambda own: own.first_effect, "s"),
            _of(one, lambda own: sum(own.resting_memory.values()), "MiB"),
            _of(one, lambda own: sum(own.loaded_memory.values()), "MiB"),
            _of(one, lambda own: sum(own.resting_cpu.values()) * 100, "%"),
            _of(one, lambda own: sum(own.one.cpu_ms.values()), "ms"),
            _of(one, lambda own: sum(own.three.cpu_ms.values()), "ms"),
        ]

    heads = ["ready after", "first effect after", "memory at rest", "after storms", "CPU at rest"]
    return _of_each(report, [*heads, "CPU a run, 1 step", "3 steps"], cells)


def parts(report: Report) -> str:
    """Memory and CPU by process."""

    def row(one: Result, part: str) -> list[str]:
        return [
            name(one),
            part,
            _of(one, lambda own: own.resting_memory.get(part), "MiB"),
            _of(one, lambda own: own.loaded_memory.get(part), "MiB"),
            _of(one, lambda own: own.one.cpu_ms.get(part), "ms"),
            _of(one, lambda own: own.three.cpu_ms.get(part), "ms"),
        ]

    rows = [row(one, part) for one in _measured(report) for part in _parts(one)]
    return _table(["", "process", "memory at rest", "after storms", "CPU a run, 1 step", "3 steps"], rows)


def sustained(report: Report) -> str:
    rows = []
    for one in _measured(report):
        if (held := one.sustained) and held.lag and held.memory:
            third = max(1, len(held.lag) // 3)
            first, last = held.memory[0][1], held.memory[-1][1]
            rows.append([
                name(one),
                f"{_number(held.rate)}/s for {held.seconds:.0f} s",
                f"{_number(median(p50 for _, p50, _ in held.lag[:third]) * 1e3)} ms",
                f"{_number(median(p50 for _, p50, _ in held.lag[-third:]) * 1e3)} ms",
                f"{_number(max(p99 for _, _, p99 in held.lag) * 1e3)} ms",
                f"{sum(first.values()):.0f} MiB",
                f"{sum(last.values()):.0f} MiB",
                _failures(held.refused, held.lost),
            ])  # fmt: skip
    heads = ["", "events", "lag p50, first third", "last third", "worst p99", "memory before", "after", "failures"]
    return _table(heads, rows) if rows else "Not measured in this run."


def model(report: Report) -> str:
    rows = []
    for one in _measured(report):
        if not one.key.startswith(("standard", "express")):
            continue
        cpu = {part: median(own.one.cpu_ms.get(part, 0.0) for own in one.rounds) for part in _parts(one)}
        harness = {part: median(own.one.harness_cpu_ms[part] for own in one.rounds) for part in _harness(one)}
        measured = median(own.one.rate for own in one.rounds)
        with_harness = predict(cpu | harness, report.cores, ONE_OF_EACH)
        rows.append([name(one), f"{report.cores}, measured {_number(measured)}/s", "one of each", *_said(with_harness)])
        for cores in (8, 64):
            rows.append([name(one), str(cores), "one of each", *_said(predict(cpu, cores, ONE_OF_EACH))])
            if one.store == "PostgreSQL":
                rows.append([name(one), str(cores), "as many as it takes", *_said(predict(cpu, cores, {}))])
    heads = ["", "cores", "processes", "runs/s at most", "full first", "processes of each part"]
    return _table(heads, rows) if rows else "Not measured in this run."


def harness(report: Report) -> str:
    def row(one: Result) -> list[str]:
        return [
            name(one),
            _of(one, lambda own: own.one.harness_cpu_ms["load generator"], "ms"),
            _of(one, lambda own: own.one.harness_cpu_ms["receiver"], "ms"),
        ]

    heads = ["", "load generator, CPU an event", "receiver, CPU an event"]
    return _table(heads, [row(one) for one in _measured(report)])


def small(report: Report) -> str:
    return _table(["what", "here", "peer, in the same run", "ratio"], report.small)


def missing(report: Report) -> str:
    """Who could not take part, and why; which storms had to send events again."""
    out = [f"- {name(one)}: {one.unavailable}" for one in report.results if one.unavailable]
    for one in _measured(report):
        for work in (Work.ONE, Work.THREE):
            for own in one.rounds:
                storm = own.one if work is Work.ONE else own.three
                if storm.refused or storm.lost:
                    out.append(f"- {name(one)}, storm of {storm.events}: {_failures(storm.refused, storm.lost)}")
    return (
        "\n".join(out) if out else "Everyone took part, every event was accepted at the first try and had its effect."
    )


SECTIONS: Mapping[str, Callable[[Report], str]] = {
    section.__name__: section
    for section in (machine, ratios, speeds, costs, parts, sustained, model, harness, small, missing)
}


def _of_each(report: Report, heads: Sequence[str], cells: Callable[[Result], list[str]]) -> str:
    """A row for everyone; who could not take part has the reason."""

    def rows() -> Iterator[list[str]]:
        for one in report.results:
            blank = [f"not measured: {one.unavailable}", *[""] * (len(heads) - 1)]
            yield [name(one), one.version, *(cells(one) if one.rounds else blank)]

    return _table(["", "version", *heads], rows())


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _measured(report: Report) -> list[Result]:
    return [one for one in report.results if one.rounds]


def name(one: Result) -> str:
    return f"{one.title}, {one.store}"


def _parts(one: Result) -> list[str]:
    return list(dict.fromkeys(part for own in one.rounds for part in (*own.resting_memory, *own.one.cpu_ms)))


def _harness(one: Result) -> list[str]:
    return list(one.rounds[0].one.harness_cpu_ms)


def _of(one: Result, number: Callable[[Round], float | None], unit: str = "") -> str:
    values = [value for own in one.rounds if (value := number(own)) is not None]
    if not values:
        return "–"
    return _spread(values, f" {unit}".rstrip())


def _ms(one: Result, seconds: Callable[[Round], float | None]) -> str:
    return _of(one, lambda own: None if (value := seconds(own)) is None else value * 1e3, "ms")


def _spread(values: Sequence[float], unit: str) -> str:
    spread = Spread.of(values)
    around = f" ({_number(spread.least)}–{_number(spread.most)})" if len(values) > 1 else ""
    return f"{_number(spread.median)}{unit}{around}"


def _failures(refused: Mapping[str, int], lost: int) -> str:
    again = ", ".join(f"{count} × {answer}" for answer, count in sorted(refused.items()))
    told = [f"sent again after {again}"] if again else []
    return "; ".join([*told, *([f"{lost} accepted, but without effect"] if lost else [])]) or "none"


def _said(prediction: Prediction) -> list[str]:
    processes = ", ".join(f"{count} {part}" for part, count in prediction.processes.items())
    return [_number(prediction.rate), prediction.full, processes]


def _number(value: float) -> str:
    """Two or three digits that matter."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
