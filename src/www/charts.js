/* charts: the last hour in five pictures, drawn by Chart.js, each with its figures as a table below.
 *
 * What a picture shows is a row of the table `CHARTS`. Colours are those of base.css, asked again when
 * the scheme changes. Nothing is animated.
 */
import { clock, count, percent, rate, seconds, usd } from "./figures.js";
import { fill_legend, plain_table } from "./table.js";
import { visible } from "./text.js";

const SERIES = 6; /* colours there are */
const SPAN_S = 3600;
const SPAN_LEAST_S = 300;
const TABLE_ROWS = 12;

/* ---- the rows of the history ---- */

export class History {
    constructor() {
        this.rows = [];
        this.names = [];
    }

    /* Takes what an event brings: all, or what is new. */
    add(part) {
        this.names = part.columns;
        const last = this.rows.at(-1)?.number ?? 0;
        const made = part.rows.map((values) =>
            Object.fromEntries(values.map((value, at) => [part.columns[at], value])));
        const fresh = made.filter((row) => row.number > last);
        /* the daemon began anew */
        const anew = made.length > 0 && made.at(-1).number < last;
        this.rows = (anew ? made : [...this.rows, ...fresh]).slice(-SPAN_S / part.period_s);
    }

    providers() {
        return this.names.filter((name) => name.startsWith("cost_usd:")).map((name) => name.slice(9));
    }
}

/* ---- what is drawn ---- */

const per_minute = (name) => (row) => ((row[name] ?? 0) / row.seconds) * 60;
const per_second = (name) => (row) => row[name] / row.seconds;
const sum_of = (rows, read) => rows.reduce((sum, row) => sum + read(row), 0);
const worst = (rows, read) => rows.map(read).reduce((a, b) => (b !== null && b > (a ?? -1) ? b : a), null);
const mean = (rows, read) => sum_of(rows, (row) => read(row) * row.seconds) / sum_of(rows, (row) => row.seconds);

function hit_share(rows) {
    const hits = sum_of(rows, (row) => row.hits + row.coalesced);
    const all = hits + sum_of(rows, (row) => row.misses);
    return all > 0 ? hits / all : null;
}

/* Of many providers the first ones have a colour of their own. */
function spend_series(history, figures) {
    const used = history.providers().filter((name) =>
        figures.providers.some((one) => one.provider === name && (one.configured || one.cost_usd > 0)));
    const shown = used.length > SERIES ? used.slice(0, SERIES - 1) : used;
    const rest = used.slice(shown.length);
    const total = (names) => sum_of(figures.providers.filter((one) => names.includes(one.provider)),
        (one) => one.cost_usd);
    const one = (name, names) => ({
        name,
        read: (row) => names.reduce((sum, own) => sum + per_minute(`cost_usd:${own}`)(row), 0),
        text: usd(total(names)),
    });
    return [...shown.map((name) => one(name, [name])), ...(rest.length > 0 ? [one("others", rest)] : [])];
}

const REASONS = [["cache", "cache"], ["routing", "cheaper route"], ["coalesced", "shared answers"]];

const CHARTS = {
    spend: {
        stacked: true, format: usd, table: mean,
        series: spend_series,
    },
    savings: {
        stacked: true, format: usd, table: mean,
        series: (history, figures) => REASONS.map(([reason, name]) => ({
            name, read: per_minute(`saved_usd.${reason}`), text: usd(figures.saved_usd[reason]),
        })),
    },
    requests: {
        format: rate, table: mean,
        series: (history, figures) => [
            { name: "all", read: per_second("requests"), text: count(figures.requests.total), fill: true },
            { name: "failed", read: per_second("failed"), text: count(figures.requests.failed), series: 5 },
        ],
    },
    latency: {
        format: seconds, tick: (s) => (s === 0 ? "0" : seconds(s)), table: worst, points: true,
        series: (history, figures) => ["p50", "p95", "p99"].map((name) => ({
            name, read: (row) => row[`latency_s.${name}`], text: seconds(figures.minute.latency_s[name]),
        })),
    },
    hits: {
        format: percent, tick: (share) => `${Math.round(share * 100)} %`, highest: 1, points: true,
        series: (history, figures) => [{
            name: "hits", read: (row) => hit_share([row]), text: percent(figures.cache.hit_ratio), fill: true,
        }],
        table: (rows) => hit_share(rows),
    },
};

/* ---- one picture ---- */

function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(chart, format) {
    return {
        grid: { color: colour("--line"), drawBorder: false, drawTicks: false },
        ticks: { color: colour("--muted"), maxTicksLimit: 5, padding: 8, callback: format,
            font: { size: 12 }, maxRotation: 0, autoSkipPadding: 24 },
        border: { display: false },
        ...chart,
    };
}

const STEPS_S = [60, 120, 300, 600, 900];
const STEPS_MOST = 6;

/* Marks at whole minutes, as many as there is room for. */
function set_marks(scale) {
    const most = Math.min(STEPS_MOST, scale.width / 64);
    const step = STEPS_S.find((size) => (scale.max - scale.min) / size <= most) ?? STEPS_S.at(-1);
    scale.ticks = [];
    for (let at = Math.ceil(scale.min / step) * step; at <= scale.max; at += step) {
        scale.ticks.push({ value: at });
    }
}

function options(kind) {
    return {
        animation: false, normalized: true, parsing: false, responsive: true, maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false, axis: "x" },
        scales: {
            x: axis({ type: "linear", grid: { display: false }, afterBuildTicks: set_marks }, (at) => clock(at)),
            y: axis({ beginAtZero: true, stacked: kind.stacked, max: kind.highest,
                suggestedMax: 1e-9 }, (value) => (kind.tick ?? kind.format)(value)),
        },
        plugins: {
            legend: { display: false },
            tooltip: {
                displayColors: true, boxPadding: 4, padding: 10, cornerRadius: 8,
                backgroundColor: colour("--text"), titleColor: colour("--ground"), bodyColor: colour("--ground"),
                callbacks: {
                    title: (items) => (items.length > 0 ? clock(items[0].parsed.x, true) : ""),
                    label: (item) => `${item.dataset.label}: ${kind.format(item.parsed.y)}`,
                },
            },
        },
    };
}

/* A point that has no neighbour would not be seen as a line. */
function lonely(context) {
    const { data } = context.dataset;
    const at = context.dataIndex;
    return (data[at - 1]?.y ?? null) === null && (data[at + 1]?.y ?? null) === null ? 2 : 0;
}

export class Picture {
    constructor(section) {
        this.kind = CHARTS[section.dataset.chart];
        this.title = section.querySelector("h2").textContent;
        this.canvas = section.querySelector("canvas");
        this.legend = section.querySelector(".legend");
        this.details = section.querySelector("details");
        this.place = section.querySelector(".table");
        this.chart = new Chart(this.canvas, { type: "line", data: { datasets: [] }, options: options(this.kind) });
        /* it may have to be scrolled sideways, by keyboard too */
        this.place.tabIndex = 0;
        this.place.setAttribute("role", "region");
        this.place.setAttribute("aria-label", `${this.title}, as a table`);
        this.details.addEventListener("toggle", () => this.write_table());
    }

    /* The figures beside the picture, each second. */
    tell(history, figures) {
        this.series = this.kind.series(history, figures).map((one, at) => ({ series: at + 1, ...one }));
        fill_legend(this.legend, this.series);
    }

    /* The picture, with each sample. */
    draw(history, now) {
        const { rows } = history;
        this.rows = rows;
        this.chart.data.datasets = this.series.map((one) => ({
            label: visible(one.name),
            data: rows.map((row) => ({ x: row.time, y: one.read(row) })),
            borderWidth: this.kind.stacked ? 1 : 2, tension: 0, spanGaps: false,
            pointRadius: this.kind.points ? lonely : 0, pointHitRadius: 8,
            fill: this.kind.stacked ? "stack" : one.fill ? "origin" : false,
            series: one.series,
        }));
        this.scale(rows, now);
        this.recolour();
        this.describe(rows);
        this.write_table();
    }

    scale(rows, now) {
        const { x } = this.chart.options.scales;
        x.max = now;
        x.min = Math.max(now - SPAN_S, Math.min(now - SPAN_LEAST_S, rows[0]?.time ?? now));
    }

    recolour() {
        const fresh = options(this.kind);
        const { x } = this.chart.options.scales;
        fresh.scales.x.min = x.min;
        fresh.scales.x.max = x.max;
        this.chart.options = fresh;
        this.chart.data.datasets.forEach((set) => {
            const ink = colour(`--series-${set.series}`);
            Object.assign(set, { borderColor: ink, pointBackgroundColor: ink,
                backgroundColor: this.kind.stacked ? `${ink}b0` : `${ink}2e` });
        });
        this.chart.update();
    }

    /* What a screen reader says of it. */
    describe(rows) {
        const parts = this.series.map((one) => {
            const now = rows.length > 0 ? one.read(rows.at(-1)) : null;
            const high = worst(rows, one.read);
            const say = (value) => (value === null ? "nothing" : this.kind.format(value));
            return `${visible(one.name)} now ${say(now)}, highest ${say(high)}`;
        });
        this.canvas.setAttribute("aria-label", `${this.title}, up to the last hour: ${parts.join("; ")}.`);
    }

    write_table() {
        if (!this.details.open || !this.series || !this.rows) {
            return;
        }
        const { rows } = this;
        const size = Math.max(1, Math.ceil(rows.length / TABLE_ROWS));
        const lines = [];
        for (let end = rows.length; end > 0; end -= size) {
            const group = rows.slice(Math.max(0, end - size), end);
            lines.push([clock(group.at(-1).time, true), ...this.series.map((one) => {
                const value = this.kind.table(group, one.read);
                return value === null ? "–" : this.kind.format(value);
            })]);
        }
        this.place.replaceChildren(plain_table(this.title, ["Up to", ...this.series.map((one) => one.name)], lines));
    }
}
