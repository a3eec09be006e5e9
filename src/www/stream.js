/* stream: one question to the daemon (POST /v1/chat/completions) and its answer as it comes.
 *
 * Besides the text this collects what OptiRoute says of an answer: in the head who answers, why,
 * and whether the cache did; in the comment before the end what it cost and saved; in the last
 * chunk the tokens. A stream is complete only when it said [DONE]. */
import { nano } from "./money.js";

/* What went wrong; `code` is the daemon's, or one of these: unreachable, cut. */
export class Failure extends Error {
    constructor(message, facts = {}) {
        super(message);
        Object.assign(
            this,
            { status: 0, code: null, request_id: null, retry_after_s: null },
            facts,
        );
    }
}

function facts_of_head(response) {
    const field = (name) => response.headers.get(`x-optiroute-${name}`);
    return {
        request_id: response.headers.get("x-request-id"),
        provider: field("provider"),
        model: field("model"),
        reason: field("route-reason"),
        cache: field("cache"),
        fallback_from: field("fallback-from"),
    };
}

async function refusal(response) {
    let error = {};
    try {
        error = (await response.json()).error ?? {};
    } catch {
        /* a proxy between us and the daemon, say: its status has to do */
    }
    return new Failure(String(error.message ?? ""), {
        status: response.status,
        code: error.code ?? null,
        request_id: response.headers.get("x-request-id"),
        retry_after_s: Number(response.headers.get("retry-after")) || null,
    });
}

/* `: optiroute cost_usd=0.000001250 saved_usd=... overhead_us=...` */
function facts_of_comment(line) {
    const facts = Object.fromEntries(line.split(" ").map((word) => word.split("=")));
    return {
        cost: nano(facts.cost_usd),
        saved: nano(facts.saved_usd),
        overhead_us: Number(facts.overhead_us),
    };
}

class Reader {
    facts = { cost: null, saved: null, overhead_us: null, usage: null, finish: null };
    is_done = false;
    #rest = "";
    #on;

    constructor(on) {
        this.#on = on;
    }

    /* The daemon sends each event's data on one line. */
    take(text) {
        const lines = (this.#rest + text).split("\n");
        this.#rest = lines.pop();
        lines.forEach((line) => this.#line(line.trimEnd()));
    }

    #line(line) {
        if (line.startsWith(": optiroute ")) {
            Object.assign(this.facts, facts_of_comment(line));
        } else if (line === "data: [DONE]") {
            this.is_done = true;
        } else if (line.startsWith("data: ")) {
            this.#chunk(JSON.parse(line.slice(6)));
        }
    }

    #chunk(chunk) {
        if (chunk.error) {
            const { message, code } = chunk.error;
            throw new Failure(String(message ?? ""), { status: 200, code: code ?? null });
        }
        const choice = chunk.choices?.[0];
        const text = choice?.delta?.content ?? choice?.delta?.refusal;
        if (text) {
            this.#on.text(text);
        } else if (choice?.delta?.reasoning_content) {
            this.#on.thinks();
        }
        this.facts.finish = choice?.finish_reason ?? this.facts.finish;
        this.facts.usage = chunk.usage ?? this.facts.usage;
    }
}

async function send({ model, messages, is_fresh, signal }) {
    const headers = { "Content-Type": "application/json" };
    if (is_fresh) {
        headers["Cache-Control"] = "no-cache";
    }
    const options = { include_usage: true };
    return fetch("/v1/chat/completions", {
        method: "POST",
        headers,
        body: JSON.stringify({ model, messages, stream: true, stream_options: options }),
        signal,
    });
}

/* Asks, and calls on.head(facts), on.thinks(), on.text(piece) as the answer comes. Returns the
 * facts of its end: cost, saved (nano-dollars, null when unknown), overhead_us, usage, finish.
 * Throws a Failure, or an AbortError when `signal` said so. */
export async function ask(question, on) {
    let id = null;
    try {
        const response = await send(question);
        if (!response.ok) {
            throw await refusal(response);
        }
        const head = facts_of_head(response);
        const reader = new Reader(on);
        id = head.request_id;
        on.head(head);
        /* not through a TextDecoderStream, which drops what it holds when the connection breaks:
         * the daemon's word on why is the last thing before (Chromium may lose it all the same) */
        const pieces = response.body.getReader();
        const decoder = new TextDecoder();
        while (!reader.is_done) {
            const { value, done } = await pieces.read();
            if (done) {
                throw new Failure("", { code: "cut" });
            }
            reader.take(decoder.decode(value, { stream: true }));
        }
        return reader.facts;
    } catch (error) {
        if (error.name === "AbortError") {
            throw error;
        }
        const failure = error instanceof Failure ? error : new Failure("", { code: "unreachable" });
        if (id !== null) {
            /* the answer had begun, so the daemon was there */
            failure.code = failure.code === "unreachable" ? "cut" : failure.code;
            failure.request_id = id;
        }
        throw failure;
    }
}
