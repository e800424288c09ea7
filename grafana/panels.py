"""A panel is a value; `board` lays panels out and makes the JSON that Grafana reads.

In expressions `$I` stands for the choice of instances, `$R` for the time over which a
rate is taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as made
from grafana_foundation_sdk.builders import prometheus as asked
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as say
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as query

Kind = Literal["lines", "stacked", "stat", "name", "bars", "heatmap"]
"""stat: the last value; name: the last legend; bars: the last value of each series."""

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
SHORT: Final = {"$I": 'instance=~"$instance"', "$R": "$__rate_interval"}
RUNBOOKS: Final = "/public/runbooks"
"""Where Grafana of compose.yaml shows docs/runbooks."""
COLORS: Final = ("green", "yellow", "orange", "red")


class Query(NamedTuple):
    """color  of its series; "" lets Grafana choose"""

    expr: str
    legend: str = ""
    color: str = ""


class Panel(NamedTuple):
    """unit     as Grafana names it
    limits   values from which it is yellow and red; red below yellow: less is worse
    runbook  page in docs/runbooks that says what to do
    width    of 24 columns
    tall     rows of the grid
    most     end of the axis
    """

    title: str
    doc: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    limits: tuple[float, ...] = ()
    runbook: str = ""
    width: int = 12
    tall: int = 8
    most: float | None = None


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


def ask(expr: str, legend: str = "", color: str = "") -> tuple[Query, ...]:
    return (Query(expr, legend, color),)


def quantiles(
    name: str, by: str = "", wanted: str = "0.5 0.95 0.99", where: str = "$I"
) -> tuple[Query, ...]:
    """One line for each quantile of a histogram."""
    over = f"le, {by}" if by else "le"
    rate = f"sum by ({over}) (rate({name}_bucket{{{where}}}[$R]))"
    label = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(f"histogram_quantile({q}, {rate})", f"p{float(q) * 100:g}{label}")
        for q in wanted.split()
    )


def buckets(name: str) -> tuple[Query, ...]:
    """For a heat map: what came into each bucket."""
    return ask(f"sum by (le) (increase({name}_bucket{{$I}}[$R]))", "{{le}}")


def spelled(expr: str) -> str:
    for short, long in SHORT.items():
        expr = expr.replace(short, long)
    return expr


def limits(values: Sequence[float]) -> made.ThresholdsConfig:
    """Green, then yellow, then red; the other way round where less is worse."""
    colors = ["green", "yellow", "red"]
    steps: list[float | None] = [None, *sorted(values)]
    if len(values) == 1:
        colors = ["green", "red"]
    if list(values) != sorted(values):
        colors = ["red", "yellow", "green"]
    return (
        made.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps(
            [
                model.Threshold(value=value, color=color)
                for value, color in zip(steps, colors, strict=False)
            ]
        )
    )


def data(panel: Panel) -> list[asked.Dataquery]:
    """The questions to Prometheus."""
    found = []
    for letter, one in zip("ABCDEFGHIJKLMN", panel.queries, strict=False):
        asking = (
            asked.Dataquery()
            .ref_id(letter)
            .expr(spelled(one.expr))
            .legend_format(one.legend)
            .datasource(SOURCE)
        )
        if panel.kind in ("name", "bars"):
            asking.instant()
        else:
            asking.range()
        if panel.kind == "heatmap":
            asking.format(query.PromQueryFormat.HEATMAP)
        elif "_bucket" in one.expr:
            asking.exemplar(True)
        found.append(asking)
    return found


def last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def lines(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(say.LegendDisplayMode.TABLE)
        .placement(say.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    shown = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(
            common.VizTooltipOptions()
            .mode(say.TooltipDisplayMode.MULTI)
            .sort(say.SortOrder.DESCENDING)
        )
        .line_width(1)
        .show_points(say.VisibilityMode.NEVER)
        .fill_opacity(70 if panel.kind == "stacked" else 8)
        .min(0)
    )
    if panel.most is not None:
        shown.max(panel.most)
    if panel.kind == "stacked":
        mode = common.StackingConfig().mode(say.StackingMode.NORMAL).group("A")
        shown.stacking(mode).line_width(0)
    if panel.limits:
        style = common.GraphThresholdsStyleConfig()
        shown.thresholds_style(style.mode(say.GraphTresholdsStyleMode.DASHED))
    for one in panel.queries:
        if one.color:
            value = {"mode": "fixed", "fixedColor": one.color}
            fixed = model.DynamicConfigValue(id_val="color", value=value)
            shown.override_by_name(one.legend, [fixed])
    return shown


def number(panel: Panel) -> stat.Panel:
    named = panel.kind == "name"
    return (
        stat.Panel()
        .reduce_options(last())
        .graph_mode(say.BigValueGraphMode.NONE if named else say.BigValueGraphMode.AREA)
        .color_mode(say.BigValueColorMode.VALUE)
        .text_mode(say.BigValueTextMode.NAME if named else say.BigValueTextMode.VALUE)
    )


def bars(panel: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(last())
        .display_mode(say.BarGaugeDisplayMode.GRADIENT)
        .orientation(say.VizOrientation.HORIZONTAL)
        .value_mode(say.BarGaugeValueMode.COLOR)
        .show_unfilled(True)
        .min(0)
    )


def warmth(panel: Panel) -> heatmap.Panel:
    color = (
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Spectral")
        .fill("dark-orange")
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .reverse(True)
    )
    return (
        heatmap.Panel()
        .calculate(False)
        .color(color)
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .cell_values(heatmap.CellValues().unit("short"))
        .cell_gap(1)
        .show_legend()
    )


DRAWN: Final[dict[Kind, Any]] = {
    "lines": lines,
    "stacked": lines,
    "stat": number,
    "name": number,
    "bars": bars,
    "heatmap": warmth,
}


def drawn(panel: Panel, number: int) -> Any:
    shown = (
        DRAWN[panel.kind](panel)
        .id(number)
        .title(panel.title)
        .description(panel.doc)
        .unit(panel.unit)
        .datasource(SOURCE)
        .targets(data(panel))
        .span(panel.width)
        .height(panel.tall)
    )
    if panel.kind != "heatmap":
        shown.thresholds(limits(panel.limits))
    if panel.runbook:
        page = f"{RUNBOOKS}/{panel.runbook}.md"
        title = f"What to do: {panel.runbook}"
        link = made.DashboardLink(title).type(model.DashboardLinkType.LINK)
        shown.links([link.url(page).target_blank(True)])
    return shown


def choice(name: str, label: str, query: str) -> made.QueryVariable:
    """Choose any of the values that a label has.

    All instances are those of fastsmtp: Prometheus has process_* of its own."""
    chosen = (
        made.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(model.VariableOption(text=["All"], value=["$__all"]))
    )
    return chosen if name == "instance" else chosen.all_value(".*")


VARIABLES: Final = {
    "instance": "label_values(fastsmtp_build_info, instance)",
    "listener": (
        'label_values(fastsmtp_smtp_connections{instance=~"$instance"}, listener)'
    ),
    "worker": (
        "label_values("
        'fastsmtp_process_cpu_seconds_total{instance=~"$instance"}, worker)'
    ),
}


def board(name: str, title: str, doc: str, rows: Sequence[Row]) -> str:
    """The JSON of one dashboard."""
    made_of = (
        made.Dashboard(title)
        .uid(f"fastsmtp-{name}")
        .description(doc)
        .tags(["fastsmtp"])
        .readonly()
        .timezone("browser")
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(made.DatasourceVariable("datasource").type("prometheus"))
        .link(
            made.DashboardLink("fastsmtp")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["fastsmtp"])
            .include_vars(True)
            .keep_time(True)
        )
        .link(
            made.DashboardLink("Run-books")
            .type(model.DashboardLinkType.LINK)
            .url(f"{RUNBOOKS}/README.md")
            .target_blank(True)
        )
        .annotation(
            made.AnnotationQuery()
            .name("Started, reloaded")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("blue")
            .expr(
                "changes(fastsmtp_config_last_reload_success_timestamp_seconds"
                f"{{{SHORT['$I']}}}[1m]) > 0"
            )
        )
    )
    for variable, asks in VARIABLES.items():
        made_of.with_variable(choice(variable, variable.capitalize(), asks))
    number = 0
    for row in rows:
        number += 1
        made_of.with_row(made.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made_of.with_panel(drawn(panel, number))
    return json.dumps(made_of.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
