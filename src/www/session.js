/* session: what this tab remembers: the conversation, who was asked last, a message not sent yet,
 * and the totals, which a new conversation does not set back. */
import { element } from "./dom.js";
import { exact, short } from "./money.js";
import { visible } from "./text.js";
import { counted } from "./words.js";

const KEY = "optiroute.chat.1"; /* with the number of its form */
const EMPTY = {
    turns: [],
    choice: "auto",
    draft: "",
    spent: 0,
    saved: 0,
    requests: 0,
    tokens: 0,
    unknown: 0,
    shares: {},
};

function load() {
    try {
        return { ...EMPTY, ...JSON.parse(sessionStorage.getItem(KEY) ?? "{}") };
    } catch {
        return { ...EMPTY };
    }
}

const at = (id) => document.getElementById(id);

export class Session {
    #kept = load();

    constructor() {
        this.#show();
    }

    get choice() {
        return this.#kept.choice;
    }

    set choice(name) {
        this.#kept.choice = name;
    }

    get draft() {
        return this.#kept.draft;
    }

    set draft(text) {
        this.#kept.draft = text;
    }

    /* An answer that the page was left over has no end. */
    turns() {
        const answers = this.#kept.turns.flatMap((turn) => turn.answers);
        for (const answer of answers) {
            if (answer.state === "waiting" || answer.state === "streaming") {
                answer.state = "stopped";
                this.count(answer);
            }
        }
        return this.#kept.turns;
    }

    /* Where it does not fit, the page goes on without. */
    keep(turns) {
        this.#kept.turns = turns;
        try {
            sessionStorage.setItem(KEY, JSON.stringify(this.#kept));
        } catch {
            sessionStorage.removeItem(KEY);
        }
    }

    /* An answer that is over. What the cache answered has no new tokens. */
    count(answer) {
        const { cost, saved, usage, provider, cache } = answer.facts;
        const kept = this.#kept;
        const by = cache === "hit" ? "the cache" : provider;
        kept.requests++;
        if (answer.state === "done") {
            kept.spent += cost ?? 0;
            kept.saved += saved ?? 0;
            kept.tokens +=
                usage && cache !== "hit" && cache !== "coalesced"
                    ? usage.prompt_tokens + usage.completion_tokens
                    : 0;
            kept.shares = { ...kept.shares, [by]: (kept.shares[by] ?? 0) + 1 };
        }
        const is_charged =
            answer.state === "done" || answer.text !== "" || answer.state === "stopped";
        kept.unknown += is_charged && cost === null ? 1 : 0;
        this.#show();
    }

    #show() {
        const { spent, saved, requests, tokens, unknown } = this.#kept;
        const part = saved > 0 ? ` (${Math.round((100 * saved) / (spent + saved))} %)` : "";
        at("spent").textContent = short(spent);
        at("spent").title = exact(spent);
        at("saved").replaceChildren(short(saved), element("span", { className: "part" }, part));
        at("saved").title = exact(saved);
        at("requests").textContent = requests.toLocaleString("en");
        at("tokens").textContent = tokens.toLocaleString("en");
        at("unknown").hidden = unknown === 0;
        at("unknown").textContent =
            `Without the price of ${counted(unknown, "answer", "answers")} ` +
            "that did not end or has none.";
        this.#show_shares();
    }

    #show_shares() {
        const shares = Object.entries(this.#kept.shares).sort((one, other) => other[1] - one[1]);
        const most = shares[0]?.[1] ?? 1;
        const rows = shares.map(([name, n]) => {
            const bar = element("span", { className: "share" });
            bar.style.width = `${(100 * n) / most}%`;
            const label = element("span", { className: "name" }, visible(name));
            return element(
                "li",
                {},
                label,
                element("span", { className: "number" }, String(n)),
                bar,
            );
        });
        at("shares").hidden = shares.length === 0;
        at("share-list").replaceChildren(...rows);
    }
}
