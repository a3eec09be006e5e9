/* words: what the daemon says in short (x-optiroute-* fields, error codes) in plain words. */

/* ---- why it went there ---- */

/* The features of the score (doc/routing.md) as a person would call them. */
const FEATURES = {
    length: "length",
    sentences: "many sentences",
    questions: "several questions",
    code: "code",
    computing: "computing",
    maths: "mathematics",
    numbers: "numbers",
    quantities: "quantities",
    proportions: "proportions",
    reasoning: "reasoning",
    task: "a task",
    constraints: "constraints",
    format: "a format",
    conditions: "conditions",
    negation: "negation",
    comparison: "comparison",
    story: "a story",
    property: "property law",
    expert: "expert terms",
    ethics: "ethics",
    logic: "logic",
    recall: "plain recall",
    passage: "a quoted passage",
    choices: "multiple choice",
    long_words: "long words",
    language: "another language",
    system: "long instructions",
    history: "a long conversation",
    tools: "tools",
};

function enumeration(words) {
    return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0];
}

function of_score(score, features) {
    const named = (sign) =>
        features
            .filter((word) => word.endsWith(sign))
            .map((word) => {
                const name = word.slice(0, -1);
                return FEATURES[name] ?? name;
            });
    const parts = [
        ["+", "up"],
        ["-", "down"],
    ]
        .map(([sign, way]) => [named(sign), way])
        .filter(([names]) => names.length > 0)
        .map(([names, way]) => `${enumeration(names)} moved it ${way}`);
    const why = parts.length > 0 ? `: ${parts.join(", ")}` : "";
    return `Difficulty ${score} of 1${why}.`;
}

function of_reason(reason) {
    const [, kind, value] = /^(\w+)(?::(.*))?$/s.exec(reason) ?? [];
    switch (kind) {
        case "score": {
            const [score, ...features] = value.split(" ");
            return of_score(score, features);
        }
        case "length":
            return `Chosen by the prompt’s length, ${value} characters.`;
        case "rule":
            return `The rule “${value}” chose it.`;
        case "provider":
            return "You chose this provider.";
        case "model":
            return "You chose this model.";
        default:
            return `Reason: ${reason}.`;
    }
}

const OUTCOMES = { http_5xx: "internal error", breaker_open: "circuit open" };

/* `openai:idle_timeout, other:breaker_open` */
function of_fallback(passed_over) {
    const names = passed_over.split(", ").map((one) => one.split(":"));
    const word = (code) => OUTCOMES[code] ?? code.replaceAll("_", " ");
    const parts = names.map(([name, code]) => `${name} (${word(code)})`);
    return `${enumeration(parts)} could not answer, so the next in line did.`;
}

export function why(facts) {
    const parts = facts.reason ? [of_reason(facts.reason)] : [];
    if (facts.cache === "hit") {
        parts.unshift("Asked before, so this comes from the cache.");
    } else if (facts.cache === "coalesced") {
        parts.unshift("Being asked at that moment already, so both share one answer.");
    }
    if (facts.fallback_from) {
        parts.push(of_fallback(facts.fallback_from));
    }
    return parts.join(" ");
}

/* ---- where it came from: a word, and how good that is ---- */

const CACHE = {
    hit: ["from the cache", "good"],
    coalesced: ["shared", "good"],
    miss: ["newly made", ""],
    bypass: ["cache skipped", ""],
};

export function cache(state) {
    return CACHE[state] ?? [state ?? "unknown", ""];
}

/* ---- how an answer ended, when not by itself ---- */

export const ENDS = {
    length: "Ended by the limit of tokens.",
    content_filter: "Ended by the provider’s content filter.",
};

/* ---- errors ---- */

const BROKEN = "The answer broke off before it was complete.";

const CODES = {
    unreachable: "OptiRoute cannot be reached. Is the daemon running?",
    cut: BROKEN,
    model_not_found: "There is no such route, provider or model any more.",
    provider_auth: "The provider does not accept the gateway’s key.",
    breaker_open: "The provider failed several times and is left alone for a while.",
    rate_limited: "The provider is being asked too often.",
};

const STATUSES = {
    200: BROKEN,
    408: "The question took too long to arrive.",
    413: "This conversation is too long to be sent.",
    429: "The provider is being asked too often.",
    502: "The provider did not answer properly.",
    503: "Nobody can answer just now.",
    504: "The provider took too long.",
};

function sentence(text) {
    return text === "" ? "" : `${text[0].toUpperCase()}${text.slice(1).replace(/\.?$/, ".")}`;
}

/* What happened; what the daemon says of it, where that adds something; and when to come back. */
export function failure(error) {
    const said = sentence(error.message ?? "");
    const headline =
        CODES[error.code] ?? STATUSES[error.status] ?? (said || "Something went wrong.");
    const seconds = error.retry_after_s;
    const wait = seconds ? `Worth another try in ${counted(seconds, "second", "seconds")}.` : "";
    return { headline, details: [said === headline ? "" : said, wait].filter(Boolean).join(" ") };
}

/* ---- figures ---- */

export function duration(ms) {
    if (ms < 1) {
        return `${Math.round(ms * 1000)} µs`;
    }
    return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function counted(n, one, many) {
    return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
