/* dashboard: what the daemon spends, saves and does, live. The figures come once a second
 * (live.js); charts change with each sample of the history. Everything is inserted as text.
 */
import { History, Picture } from "./charts.js";
import { element } from "./dom.js";
import { bytes, clock, count, percent, rate, seconds, span, usd } from "./figures.js";
import { listen, STALE_MS } from "./live.js";
import { fill_facts, fill_table, fill_track, set_text } from "./table.js";
import { visible } from "./text.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const history = new History();
const pictures = [...document.querySelectorAll("[data-chart]")].map((section) => new Picture(section));

/* ---- the figures on top ---- */

function per_minute(amount, minute) {
    return minute.seconds > 0 ? (amount / minute.seconds) * 60 : 0;
}

function show_tiles({ cost_usd, saved_usd, requests, minute, cache, connections, latency_s }) {
    const whole = cost_usd + saved_usd.total;
    set_text($("spent"), usd(cost_usd));
    set_text($("spent-note"), `${usd(per_minute(minute.cost_usd, minute))} per minute now`);
    set_text($("saved"), usd(saved_usd.total));
    set_text($("saved-note"), whole > 0
        ? `${percent(saved_usd.total / whole)} of the price, ${usd(per_minute(minute.saved_usd.total, minute))} per minute now`
        : "nothing so far");
    set_text($("rate"), rate(per_minute(minute.requests, minute)));
    set_text($("rate-note"), `${count(requests.total)} in all, ${count(requests.failed)} failed`);
    const recent = minute.latency_s.count > 0 ? minute.latency_s : latency_s;
    set_text($("latency"), seconds(recent.p50));
    set_text($("latency-note"), `p95 ${seconds(recent.p95)}, p99 ${seconds(recent.p99)}, ${
        minute.latency_s.count > 0 ? "last minute" : "since the start"}`);
    set_text($("hits"), percent(minute.hit_ratio ?? cache.hit_ratio));
    set_text($("hits-note"), `${minute.hit_ratio === null ? "" : "last minute, "}${percent(cache.hit_ratio)} in all`);
    set_text($("flight"), count(requests.in_flight));
    set_text($("flight-note"), `${count(connections.active + connections.idle)} client connections`);
}

/* ---- providers ---- */

const CIRCUITS = { closed: ["closed", "good"], half_open: ["half-open", "warn"], open: ["open", "bad"] };

function circuit_cell(one) {
    const [text, kind] = CIRCUITS[one.circuit];
    const wait = Math.ceil(one.retry_in_s);
    const notes = {
        closed: "",
        half_open: "one request probes it",
        open: wait > 0 ? `next try in ${span(wait)}` : "the next request tries it",
    };
    return { text, kind, ...(notes[one.circuit] ? { note: notes[one.circuit] } : {}) };
}

function provider_row(one) {
    const latency = one.minute.latency_s.count > 0 ? one.minute.latency_s : one.latency_s;
    return [
        { text: one.provider, note: one.configured
            ? `${one.default_model}${one.simulated ? ", simulated" : ""}` : "no longer configured" },
        circuit_cell(one),
        { text: count(one.minute.requests), note: one.minute.errors > 0 ? `${count(one.minute.errors)} failed` : "" },
        `${seconds(latency.p50)} / ${seconds(latency.p95)}`,
        count(one.requests),
        { ...(one.errors > 0 ? { text: count(one.errors), kind: "bad" } : { text: "0" }),
            note: one.skipped > 0 ? `${count(one.skipped)} skipped` : "" },
        `${count(one.tokens.prompt)} / ${count(one.tokens.completion)}`,
        { text: usd(one.cost_usd), note: one.unknown_price > 0 ? `${count(one.unknown_price)} unpriced` : "" },
        usd(one.saved_usd.total),
    ];
}

let circuits = null;

/* Only what changes is said aloud. */
function announce_circuits(providers) {
    const now = new Map(providers.map((one) => [one.provider, one.circuit]));
    const news = [...now].filter(([name, state]) => circuits && circuits.has(name) && circuits.get(name) !== state);
    circuits = now;
    if (news.length > 0) {
        set_text($("said"), news.map(([name, state]) => `${visible(name)}: circuit ${CIRCUITS[state][0]}.`).join(" "));
    }
}

/* ---- routes, cache, workers, endpoints ---- */

const TIERS = [["cheap", 1], ["strong", 2], ["provider", 3]];

function route_block(route) {
    const block = element("div", { className: "route" });
    block.dataset.route = route.route;
    block.append(element("h3", {}, visible(route.route)), element("p", { className: "note" }),
        element("div", { className: "track" }), element("dl", { className: "facts" }));
    return block;
}

function show_route(block, route) {
    const [, note, track, facts] = block.children;
    const sum = (tier) => route.choices.filter((one) => one.tier === tier).reduce((n, one) => n + one.decisions, 0);
    const all = route.decisions;
    set_text(note, all === 0 ? "not asked yet" : `${count(all)} ${all === 1 ? "decision" : "decisions"}`);
    fill_track(track, all === 0 ? [] : TIERS.map(([tier, series]) => [series, sum(tier) / all]));
    fill_facts(facts, [...route.choices].sort((a, b) => b.decisions - a.decisions).map((one) =>
        [`${one.tier}, by ${one.reason}`, `${percent(one.decisions / all)} (${count(one.decisions)})`]));
}

function show_routes(routes) {
    const place = $("routes");
    const shown = routes.filter((route, at) => route.decisions > 0 || at < 4);
    const same = shown.length === place.children.length &&
        shown.every((route, at) => place.children[at].dataset.route === route.route);
    if (!same) {
        place.replaceChildren(...shown.map(route_block));
    }
    shown.forEach((route, at) => show_route(place.children[at], route));
}

function show_cache(cache) {
    const fill = cache.fill ?? 0;
    fill_track($("fill"), [[1, fill]]);
    $("fill").setAttribute("aria-valuenow", (fill * 100).toFixed(1));
    $("fill").setAttribute("aria-valuetext", percent(fill));
    set_text($("fill-text"), cache.capacity_bytes > 0
        ? `${percent(fill)} full, ${bytes(cache.bytes)} of ${bytes(cache.capacity_bytes)}` : "turned off");
    fill_facts($("cache"), [
        ["Answers kept", count(cache.entries)],
        ["Hits", count(cache.hit)],
        ["Shared while asked", count(cache.coalesced)],
        ["Misses", count(cache.miss)],
        ["Bypassed", count(cache.bypass)],
        ["Evicted for room", count(cache.evict)],
        ["Expired", count(cache.expire)],
    ]);
}

const STATES = { starting: "warn", ready: "good", draining: "warn" };

function show_workers(workers, restarts) {
    fill_table($("workers"), workers.map((one) => [
        { text: one.role === "worker" ? `Slot ${one.slot}` : "Metrics",
            note: `pid ${one.pid}` },
        { text: one.state, kind: STATES[one.state] },
        span(one.uptime_s),
        one.role === "worker" ? count(one.connections) : "–",
    ]));
    const reasons = Object.entries({ signal: "by a signal", exit: "ended themselves", boot: "before they were ready" })
        .filter(([reason]) => restarts[reason] > 0)
        .map(([reason, text]) => `${count(restarts[reason])} ${text}`);
    set_text($("restarts"), reasons.length > 0 ? `Restarted: ${reasons.join(", ")}.` : "None had to be restarted.");
}

function show_endpoints(endpoints) {
    fill_table($("endpoints"), [...endpoints].sort((a, b) => b.requests - a.requests).map((one) => [
        one.endpoint, count(one.requests), count(one.refused),
        one.failed > 0 ? { text: count(one.failed), kind: "bad" } : "0",
    ]));
}

/* ---- recent requests ---- */

function status_cell({ status, outcome }) {
    const kind = status < 400 ? "good" : status < 500 ? "warn" : "bad";
    return { text: String(status), kind, ...(outcome && outcome !== "ok" ? { note: outcome.replaceAll("_", " ") } : {}) };
}

function why_cell(one) {
    if (!one.reason) {
        return "–";
    }
    const [, kind, value] = /^(\w+)(?::(\S*))?/.exec(one.reason) ?? [null, one.reason, ""];
    const text = kind === "provider" || kind === "model" || !value ? kind : `${kind} ${value}`;
    return { text, title: words.why(one), ...(one.route ? { note: `route ${one.route}` } : {}) };
}

function recent_row(one) {
    const tokens = one.prompt_tokens === null ? "–" : `${count(one.prompt_tokens)} / ${count(one.completion_tokens)}`;
    const [cache_text, cache_kind] = one.cache ? words.cache(one.cache) : ["–", undefined];
    return [
        clock(one.time, true),
        status_cell(one),
        { text: one.endpoint, note: one.streamed ? "streamed" : "" },
        { text: one.provider ?? "–", note: one.model ?? "" },
        why_cell(one),
        cache_kind === undefined ? cache_text : { text: cache_text, kind: cache_kind },
        { text: tokens, note: one.estimated ? "estimated" : "" },
        seconds(one.duration_s),
        one.provider === null ? "–" : usd(one.cost_usd),
        usd(one.saved_usd),
    ];
}

const RECENT_FEW = 10;
let recent = [];

function show_recent() {
    const all = $("more").getAttribute("aria-expanded") === "true";
    $("recent").hidden = recent.length === 0;
    $("recent-none").hidden = recent.length > 0;
    $("more").hidden = recent.length <= RECENT_FEW;
    set_text($("more"), all ? "Show fewer" : `Show all ${recent.length}`);
    fill_table($("recent"), recent.slice(0, all ? undefined : RECENT_FEW).map(recent_row));
}

$("more").addEventListener("click", () => {
    $("more").setAttribute("aria-expanded", String($("more").getAttribute("aria-expanded") !== "true"));
    show_recent();
});

/* ---- all of it ---- */

function show(figures) {
    const { version, uptime_s, generation, draining } = figures;
    set_text($("daemon"), `optirouted ${version}, up ${span(uptime_s)}, configuration ${generation}${
        draining ? ", shutting down" : ""}`);
    show_tiles(figures);
    fill_table($("providers"), figures.providers
        .filter((one) => one.configured || one.requests > 0).map(provider_row));
    announce_circuits(figures.providers);
    show_routes(figures.routes);
    show_cache(figures.cache);
    show_workers(figures.workers, figures.restarts);
    show_endpoints(figures.endpoints);
    if (figures.recent) {
        recent = figures.recent;
        show_recent();
    }
    pictures.forEach((picture) => picture.tell(history, figures));
}

let latest = null;
let drawn = 0;

/* In a tab that nobody sees this waits until somebody does. */
function render() {
    const figures = latest;
    latest = null;
    show(figures);
    if (figures.history || figures.time - drawn >= 10) {
        drawn = figures.time;
        pictures.forEach((picture) => picture.draw(history, figures.time));
    }
}

function take(figures) {
    if (figures.history) {
        history.add(figures.history);
    }
    const waits = latest !== null;
    /* what an event that was not shown brought counts still */
    latest = { ...figures, recent: figures.recent ?? latest?.recent, history: figures.history ?? latest?.history };
    if (!waits) {
        requestAnimationFrame(render);
    }
}

/* ---- is it still live? ---- */

const heard = listen((figures) => {
    take(figures);
    show_live();
});
let state = "";

function show_live() {
    const ago = heard();
    const now = ago < STALE_MS ? "live" : "stale";
    if (state === "" && now === "stale" && drawn === 0) {
        set_text($("live-text"), "Cannot be reached");
    }
    if (now === "stale") {
        set_text($("live-text"), drawn === 0 ? "Cannot be reached" : `Stale for ${span(ago / 1000)}`);
    } else if (drawn > 0 || latest !== null) {
        set_text($("live-text"), "Live");
    }
    if (now !== state && (drawn > 0 || now === "stale")) {
        $("live").className = `pill end ${now === "live" ? "good" : "bad"}`;
        document.body.classList.toggle("stale", now === "stale");
        if (state !== "") {
            set_text($("said"), now === "live" ? "Live again." : "The daemon is silent; these figures are old.");
        }
        state = now;
    }
}

setInterval(show_live, 1000);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    pictures.forEach((picture) => picture.recolour()));
