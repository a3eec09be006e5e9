/* answer: one answer in the page: its text as it grows, and below it where it went and why, what it
 * cost, and what can be done with it. Knows nothing of the conversation around it.
 *
 * An answer is a plain object that can be stored:
 *   state     waiting | streaming | done | stopped | failed (changed by chat.js alone)
 *   text      so far
 *   asked     the route, provider or model that was asked for
 *   facts     what the daemon said of it (stream.js)
 *   latency_ms, first_ms   from the question to its end, to its first piece
 *   failure   what went wrong (stream.js), when it failed
 */
import { copy_button, element, icon } from "./dom.js";
import { exact, short } from "./money.js";
import { Prose, write_prose } from "./prose.js";
import { visible } from "./text.js";
import { cache, duration, ENDS, failure, why } from "./words.js";

function tokens(usage) {
    return usage ? usage.prompt_tokens + usage.completion_tokens : null;
}

function pair(name, value, hint) {
    return element(
        "div",
        { title: hint ?? "" },
        element("dt", {}, name),
        element("dd", { className: "number" }, value),
    );
}

/* ---- below the text ---- */

function who(answer) {
    const { provider, model, cache: state } = answer.facts;
    const [word, kind] = cache(state);
    return element(
        "p",
        { className: "who" },
        element("strong", {}, visible(provider ?? "")),
        element("span", { className: "model" }, visible(model ?? "")),
        element("span", { className: `pill ${kind}` }, word),
        ...(AnswerView.simulated.includes(provider)
            ? [element("span", { className: "pill warn" }, "made-up words")]
            : []),
    );
}

function figures(answer) {
    const { cost, saved, usage, overhead_us } = answer.facts;
    const is_paid = answer.state === "done";
    const rows = [];
    if (is_paid) {
        rows.push(
            pair("Cost", cost === null ? "unknown" : short(cost), cost === null ? "" : exact(cost)),
        );
        rows.push(
            pair(
                "Saved",
                saved === null ? "unknown" : short(saved),
                saved === null ? "" : exact(saved),
            ),
        );
    }
    rows.push(
        pair(
            "Time",
            duration(answer.latency_ms),
            `first words after ${duration(answer.first_ms ?? 0)}`,
        ),
    );
    if (usage) {
        const { prompt_tokens, completion_tokens } = usage;
        const parts = `${prompt_tokens} in the question, ${completion_tokens} in the answer`;
        rows.push(pair("Tokens", tokens(usage).toLocaleString("en"), parts));
    }
    if (is_paid && overhead_us !== null) {
        rows.push(
            pair("OptiRoute itself", duration(overhead_us / 1000), "what the gateway itself took"),
        );
    }
    return element("dl", { className: "figures" }, ...rows);
}

function details(answer) {
    const { cost, saved, usage, overhead_us, request_id } = answer.facts;
    const rows = [
        ["Asked for", answer.asked],
        ["Request", request_id],
        ["First words after", answer.first_ms === null ? null : duration(answer.first_ms)],
        ["Tokens of the question", usage?.prompt_tokens],
        ["Tokens of the answer", usage?.completion_tokens],
        ["Cost", cost === null ? null : exact(cost)],
        ["Saved", saved === null ? null : exact(saved)],
        ["Time in OptiRoute", overhead_us === null ? null : `${overhead_us} µs`],
    ];
    const known = rows.filter(([, value]) => value !== null && value !== undefined);
    return element(
        "details",
        {},
        element("summary", { className: "quiet" }, "Details"),
        element(
            "dl",
            {},
            ...known.flatMap(([name, value]) => [
                element("dt", {}, name),
                element("dd", {}, visible(String(value))),
            ]),
        ),
    );
}

function note(answer) {
    if (answer.state === "stopped") {
        return "Stopped. What was made until then is charged, but its price is not known here.";
    }
    return ENDS[answer.facts.finish] ?? "";
}

/* ---- when it went wrong ---- */

function trouble(answer, again) {
    const { headline, details: more } = failure(answer.failure);
    const id = answer.failure.request_id;
    const box = element("div", { className: "trouble" }, icon("warning"));
    const words = element("div", {}, element("p", {}, element("strong", {}, visible(headline))));
    if (more) {
        words.append(element("p", {}, visible(more)));
    }
    if (id) {
        words.append(
            element("p", { className: "id" }, "Request ", element("code", {}, visible(id))),
        );
    }
    words.append(again);
    box.append(words);
    box.setAttribute("role", "alert");
    return box;
}

/* ---- the whole ---- */

function button(name, label, on_click) {
    const words = element("span", {}, label);
    const made = element("button", { type: "button", className: "quiet" }, icon(name), words);
    made.addEventListener("click", on_click);
    return { made, words };
}

export class AnswerView {
    static simulated = []; /* names of providers without a model behind them */
    root = element("article", { className: "answer" });
    #answer;
    #on; /* again(answer, {is_fresh}), changed() */
    #title = element("h3", { className: "unseen" }, "Answer");
    #text = element("div", { className: "prose" });
    #wait = element("p", { className: "wait" });
    #below = element("div", { className: "below" });
    #prose;
    #again = null;
    #choice = "";

    constructor(answer, on) {
        this.#answer = answer;
        this.#on = on;
        this.root.append(this.#title, this.#text, this.#wait, this.#below);
        this.#prose = new Prose(this.#text, on.changed);
        if (answer.state !== "waiting" && answer.text !== "") {
            write_prose(this.#text, answer.text);
        }
        this.show();
    }

    shows(answer) {
        return answer === this.#answer;
    }

    add(text) {
        this.#prose.add(text);
    }

    /* The text is complete, or will never be. */
    end() {
        this.#prose.end();
    }

    /* As the answer's state has it. */
    show() {
        const { state, facts } = this.#answer;
        const is_open = state === "waiting" || state === "streaming";
        this.root.setAttribute("aria-busy", String(is_open));
        this.#title.textContent = facts.provider
            ? `Answer of ${visible(facts.provider)}`
            : "Answer";
        this.#wait.hidden = !is_open;
        this.#wait.replaceChildren(element("span", { className: "dots" }), this.#waiting());
        this.#below.hidden = is_open;
        this.#below.replaceChildren(...(is_open ? [] : this.#parts()));
    }

    /* What the button for another answer says depends on who would be asked. */
    name_choice(choice) {
        this.#choice = choice;
        if (this.#again !== null) {
            const is_same = choice === this.#answer.asked;
            this.#again.textContent = is_same ? "Ask again" : `Ask ${visible(choice)} too`;
        }
    }

    #waiting() {
        const { asked, facts, is_thinking } = this.#answer;
        const name = visible(facts.provider ?? asked);
        if (!facts.provider) {
            return `Asking ${name}`;
        }
        return `${name} is ${is_thinking ? "thinking" : "answering"}`;
    }

    #parts() {
        const answer = this.#answer;
        if (answer.state === "failed") {
            const again = button("again", "Try again", () => this.#on.again(answer, {}));
            again.made.className = "button another";
            return [trouble(answer, again.made)];
        }
        const reason = why(answer.facts);
        const said = note(answer);
        return [
            ...(said ? [element("p", { className: "note" }, said)] : []),
            who(answer),
            ...(reason ? [element("p", { className: "why" }, visible(reason))] : []),
            figures(answer),
            this.#actions(),
        ];
    }

    #actions() {
        const answer = this.#answer;
        const again = button("again", "Ask again", () => this.#on.again(answer, {}));
        again.made.classList.add("another");
        const row = element("div", { className: "actions" });
        row.append(
            copy_button("Copy", () => answer.text),
            again.made,
        );
        this.#again = again.words;
        this.name_choice(this.#choice || answer.asked);
        if (answer.facts.cache === "hit") {
            const fresh = button("fresh", "Fresh answer", () =>
                this.#on.again(answer, { is_fresh: true }),
            );
            fresh.made.classList.add("another");
            fresh.made.title = "Not from the cache";
            row.append(fresh.made);
        }
        row.append(details(answer));
        return row;
    }
}
