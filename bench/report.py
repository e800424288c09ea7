"""One run, as one HTML file that needs nothing else."""

from html import escape
from math import log10
from typing import Any, Final

from fastsmtp_bench.histogram import value
from fastsmtp_bench.plots import Axes, Series, bars, lines, stacked
from fastsmtp_bench.verdict import NAMES, milliseconds

NINES: Final = ((0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"))
MORE_NINES: Final = ((4.0, "99.99 %"), (5.0, "99.999 %"))
SEEN: Final = 0.005  # of a processor: less is no area in a plot
STYLE: Final = """
:root { --paper:#fff; --ink:#1b1f24; --soft:#5b6570; --rule:#e3e7eb; --panel:#f7f8fa;
  --c0:#2f6fde; --c1:#e0792b; --c2:#2a9d6f; --c3:#b04fc2; --c4:#8a93a0; --c5:#c9a227;
  --c6:#d1495b; --c7:#3aa6b9; --good:#1f8a5b; --bad:#c23b3b; }
@media (prefers-color-scheme: dark) { :root { --paper:#14171b; --ink:#e6e9ed;
  --soft:#98a2ad; --rule:#2a3038; --panel:#1b1f25; --c0:#6ea1ff; --c1:#f39a56;
  --c2:#4ec596; --c3:#cf86dd; --c4:#9aa4b1; --c5:#e0c04b; --c6:#f0808d; --c7:#67c7d8;
  --good:#4ec596; --bad:#f0808d; } }
* { box-sizing:border-box } body { margin:0; background:var(--paper); color:var(--ink);
  font:15px/1.5 system-ui,sans-serif } main { max-width:1180px; margin:0 auto;
  padding:28px 22px 60px } h1 { font-size:15px; font-weight:600; color:var(--soft);
  margin:0 0 6px } .verdict { font-size:25px; line-height:1.3; font-weight:650;
  margin:0 0 10px; text-wrap:balance } .facts { color:var(--soft); margin:0 0 4px }
.note { display:inline-block; padding:3px 10px; border-radius:6px; margin:8px 8px 0 0;
  background:var(--panel); border:1px solid var(--rule) } .good { color:var(--good) }
.bad { color:var(--bad) } h2 { font-size:19px; margin:36px 0 4px }
.grid2 { display:grid; grid-template-columns:repeat(auto-fit,minmax(430px,1fr));
  gap:16px; margin-top:14px } figure { margin:0; padding:14px 16px 8px;
  background:var(--panel); border:1px solid var(--rule); border-radius:8px }
figcaption { font-weight:600; margin-bottom:2px } .hint { color:var(--soft);
  font-size:13px; margin:0 0 6px } svg { width:100%; height:auto; display:block }
svg text { font-size:12px; fill:var(--soft) } .right { text-anchor:end } .middle {
  text-anchor:middle } .grid { stroke:var(--rule); stroke-width:1 } .line { fill:none;
  stroke-width:2; stroke-linejoin:round } .wanted { stroke-dasharray:6 5;
  stroke-width:1.5 } .dot { fill:transparent } .area {
  fill-opacity:.85 } .legend { font-size:13px; color:var(--soft) } .key {
  margin-right:14px; white-space:nowrap } .key i { display:inline-block; width:10px;
  height:10px; border-radius:3px; margin-right:5px } table { width:100%;
  border-collapse:collapse; margin-top:12px; font-variant-numeric:tabular-nums }
td,th { padding:5px 14px 5px 0; text-align:right;
  border-bottom:1px solid var(--rule) } th { color:var(--soft);
  font-weight:500 } td:first-child,th:first-child { text-align:left }
td { white-space:nowrap } td:last-child,th:last-child {
  white-space:normal; text-align:left; padding:5px 0 5px 10px }
""" + "".join(
    f".s{n} {{ stroke:var(--c{n}) }} .f{n} {{ fill:var(--c{n}) }} "
    f".b{n} {{ background:var(--c{n}) }}\n"
    for n in range(8)
)


def html(document: dict[str, Any]) -> str:
    """The page of one run, as `results.document` gives it."""
    verdict = document["verdict"]
    notes = [_note("good" if verdict["sustained"] else "bad", _held(document))]
    if verdict["limited_by_the_generator"]:
        notes.append(_note("bad", "†: limited by the generator"))
    if document["verified"]:
        bad = document["verified"]["lost"] or document["verified"]["doubled"]
        kind = "bad" if bad else "good"
        notes.append(_note(kind, document["verified"]["sentence"]))
    profile = document["profile"]
    facts = [
        f"{document['target']}; profile {profile['name']}: {profile['what']}; "
        f"generator of {document['processes']} process"
        f"{'' if document['processes'] == 1 else 'es'}, whose ceiling is "
        f"{document['ceiling']:,.0f} messages/s, against the null sink",
        f"{document['machine']}; {document['at'].replace('T', ' ')[:16]} UTC",
    ]
    body = "".join(f'<p class="facts">{escape(fact)}</p>' for fact in facts)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>fastsmtp-bench: {escape(verdict['sentence'])}</title>"
        f"<style>{STYLE}</style><main><h1>fastsmtp-bench</h1>"
        f'<p class="verdict">{escape(verdict["sentence"])}</p>{body}'
        f"{''.join(notes)}{_table(document['phases'])}"
        f"{''.join(_phase(phase) for phase in document['phases'])}</main></html>\n"
    )


def _held(document: dict[str, Any]) -> str:
    last = document["phases"][-1]
    drained = document["verdict"]["drained"]
    word = "held" if document["verdict"]["sustained"] else "not held"
    word = "interrupted" if document["verdict"]["interrupted"] else word
    rate = f"{last['offered']:,.0f} messages/s {word}" if last["offered"] else word
    return f"{rate}; everything delivered {drained:.2f} s after the last message"


def _note(kind: str, text: str) -> str:
    return f'<span class="note {kind}">{escape(text)}</span>'


def _table(phases: list[dict[str, Any]]) -> str:
    head = ["", "messages/s", "p50", "p99", "p99.9", "refused", "broken"]
    head += ["server CPU µs", "generator CPU µs", "used most"]
    rows = ["".join(f"<th>{name}</th>" for name in head)]
    for one in phases:
        whole, counts = one["whole"], one["counts"]
        limits = ", ".join(f"{NAMES.get(n, n)} {s:.0%}" for n, s in one["limits"][:2])
        cells = [
            escape(one["name"]),
            f"{one['rate']:,.0f}" + (" †" if one["limited_by_the_generator"] else ""),
            *(milliseconds(whole[q]) for q in ("p50", "p99", "p99.9")),
            *(f"{counts.get(name, 0):,}" for name in ("refused", "broken")),
            f"{one['server_cpu_us']:.1f}" if one["server_cpu_us"] else "–",
            f"{one['generator_cpu_us']:.1f}",
            escape(limits or "–"),
        ]
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _figure(title: str, hint: str, plot: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<p class="hint">{escape(hint)}</p>{plot}</figure>'
    )


def _phase(one: dict[str, Any]) -> str:
    time = Axes(x_label="seconds")
    slices, looks = one["slices"], one["looks"]
    rates = [Series("acknowledged", [(s["at"], s["rate"]) for s in slices])]
    if one["offered"] and slices:
        ends = slices[0]["at"], slices[-1]["at"]
        wanted = [(at, one["offered"]) for at in ends]
        rates.append(Series("offered", wanted, wanted=True))
    over = [
        Series(name, [(s["at"], s[name] * 1e3) for s in slices])
        for name in ("p50", "p99")
    ]
    figures = [
        _figure("Rate", "messages a second", lines(rates, time)),
        _figure(
            "Latency over time",
            "of each interval, from when a message was due or begun to its 250",
            lines(over, Axes(x_label="seconds", unit=" ms")),
        ),
        _figure(
            "Latency",
            "percentiles of the whole phase; waited: from the last octet to the 250",
            lines(_percentiles(one), _nines(one)),
        ),
    ]
    if looks and any(look["cpu"] for look in looks):
        figures.append(_cpu(looks))
    if any("queue" in look for look in looks):
        figures.append(_queue(looks))
    if one.get("batch"):
        figures.append(_batch(one))
    offered = "at a fixed rate of " if one["offered"] else ""
    title = escape(f"{offered}{one['name']}")
    head = f"<h2>{title[0].upper()}{title[1:]}</h2>"
    return f'{head}<div class="grid2">{"".join(figures)}</div>'


def _percentiles(one: dict[str, Any]) -> list[Series]:
    """Over the number of nines, as HdrHistogram plots it."""
    return [
        Series(name, _curve(one[key]["histogram"]))
        for name, key in (("whole", "whole"), ("waited", "waited"))
    ]


def _curve(pairs: list[list[int]]) -> list[tuple[float, float]]:
    total, seen, points = sum(n for _, n in pairs), 0, []
    for bucket, count in pairs:
        left = 1 - seen / total
        points.append((-log10(left), value(bucket) / 1e6))
        seen += count
    # as many as can be told apart
    step = 0.01
    kept: list[tuple[float, float]] = []
    for x, y in points:
        if not kept or x - kept[-1][0] >= step:
            kept.append((x, y))
    return kept


def _nines(one: dict[str, Any]) -> Axes:
    total = sum(n for _, n in one["whole"]["histogram"]) or 1
    shown = [tick for tick in NINES + MORE_NINES if tick[0] <= log10(total)]
    return Axes(x_label="percentile", unit=" ms", x_ticks=shown)


def _cpu(looks: list[dict[str, Any]]) -> str:
    spent = {part for look in looks for part, n in look["cpu"].items() if n >= SEEN}
    parts = sorted(spent)
    order = [p for p in ("loop", "flusher", "keeper", "send", "read") if p in parts]
    order += [p for p in parts if p not in order]
    series = [
        Series(part, [(k["at"], k["cpu"].get(part, 0.0)) for k in looks])
        for part in order
    ]
    axes = Axes(x_label="seconds", unit="", y_least=1.0)
    return _figure("CPU", "processors in use, by part", stacked(series, axes))


def _queue(looks: list[dict[str, Any]]) -> str:
    seen = [look for look in looks if "queue" in look]
    ages = list(seen[-1]["queue"])
    series = [
        Series(
            age if not age[0].isdigit() else f"up to {age}",
            [(k["at"], k["queue"].get(age, 0.0)) for k in seen],
        )
        for age in ages
        if any(k["queue"].get(age) for k in seen) or age == ages[0]
    ]
    hint = "accepted and not yet delivered, by age; not yet applied: in the log only"
    return _figure("Queue", hint, stacked(series, Axes(x_label="seconds", y_least=10)))


def _batch(one: dict[str, Any]) -> str:
    values = [
        (f"≤ {float(edge):g}" if edge != "+Inf" else "more", count)
        for edge, count in one["batch"].items()
    ]
    while len(values) > 4 and not values[-1][1]:
        values.pop()
    mean = f"{one['sync_ms']:.2f} ms each on average"
    hint = f"messages that shared one write and fdatasync; {mean}"
    return _figure("Flush batch", hint, bars(values, Axes(x_label="messages")))
