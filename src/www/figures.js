/* figures: numbers as people read them. Money comes as a number of USD with nine decimals. */
import * as money from "./money.js";
import { duration } from "./words.js";

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function usd(amount) {
    return amount === null ? "unknown" : money.short(Math.round(amount * 1e9));
}

/* In full up to six digits. */
export function count(n) {
    return n < 1e6 ? WHOLE.format(n) : SHORT.format(n);
}

export function rate(n) {
    return n === 0 || n >= 100 ? WHOLE.format(Math.round(n)) : String(Number(n.toPrecision(2)));
}

/* 0.9987 is 99.8 %, for 100 % is all of it. */
export function percent(share) {
    if (share === null) {
        return "–";
    }
    const text = (Math.floor(share * 1000) / 10).toFixed(share === 1 || share < 0.0005 ? 0 : 1);
    return `${text} %`;
}

/* Number and unit stay on one line. */
export function seconds(s) {
    return s === null ? "–" : duration(s * 1000).replace(" ", "\u00a0");
}

export function span(s) {
    const units = [[86400, "d"], [3600, "h"], [60, "min"]];
    for (const [i, [size, unit]] of units.entries()) {
        if (s >= size) {
            const [below, name] = units[i + 1] ?? [1, "s"];
            const rest = Math.floor((s % size) / below);
            return `${Math.floor(s / size)} ${unit}${rest > 0 && s < 10 * size ? ` ${rest} ${name}` : ""}`;
        }
    }
    return `${Math.floor(s)} s`;
}

export function bytes(n) {
    const units = ["B", "KB", "MB", "GB", "TB"];
    let at = 0;
    while (n >= 1024 && at < units.length - 1) {
        n /= 1024;
        at++;
    }
    return `${n < 10 && at > 0 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

export function clock(s, with_seconds) {
    return new Date(s * 1000).toLocaleTimeString("en-GB", {
        hour: "2-digit", minute: "2-digit", ...(with_seconds ? { second: "2-digit" } : {}),
    });
}
