/* prose: a Markdown text that grows, in a page. Nodes once made are left alone: whenever something
 * was added, only the last block is read again and made anew (a code block is even written on), so
 * a long answer costs as much for each of its words as a short one.
 *
 * Where that does not help, in one endless list or table, a clock does: what is made anew takes at
 * most a quarter of the time. */
import { block, code_block, continue_code, prepare, tokens_of } from "./markdown.js";

const SLICE = 8192;
const REST = 3; /* times as long as the last turn took */

/* A code block counts as begun by its first line, and a bold text or a piece of code by its first
 * letter, so that the end of a stream does not flicker between its marks and their meaning. */
function mended(text) {
    const last = text.slice(text.lastIndexOf("\n\n") + 1);
    const fences = text.match(/^ *(```|~~~)/gm)?.length ?? 0;
    if (fences % 2 === 1) {
        return text.endsWith("\n") ? text : text + "\n";
    }
    if ((last.match(/`/g)?.length ?? 0) % 2 === 1) {
        return text + "`";
    }
    return last.split("**").length % 2 === 0 && /\*\*[^\s*]([^*]*[^\s*])?$/.test(last)
        ? text + "**"
        : text;
}

export class Prose {
    #root;
    #changed; /* called when there is more to see */
    #frame_ms;
    #coming = ""; /* what was added and not looked at */
    #tail = ""; /* text of the last block */
    #live = []; /* its nodes */
    #code = null; /* when it is a code block: its parts */
    #timer = 0;
    #not_before = 0;

    constructor(root, changed = () => {}, frame_ms = 30) {
        this.#root = root;
        this.#changed = changed;
        this.#frame_ms = frame_ms;
    }

    add(text) {
        this.#coming += text;
        if (this.#timer === 0) {
            const wait = this.#not_before - performance.now();
            this.#timer = setTimeout(() => this.#turn(), Math.max(wait, this.#frame_ms));
        }
    }

    /* Everything is there. */
    end() {
        clearTimeout(this.#timer);
        this.#make_all(this.#take(true), false);
        this.#changed();
    }

    #turn() {
        const begin = performance.now();
        this.#timer = 0;
        this.#make_all(this.#take(false), true);
        const end = performance.now();
        this.#not_before = end + REST * (end - begin);
        this.#changed();
    }

    /* A line feed may come in two pieces. */
    #take(is_last) {
        const text = this.#coming;
        const size = text.endsWith("\r") && !is_last ? text.length - 1 : text.length;
        this.#coming = text.slice(size);
        return text.slice(0, size).replace(/\r\n?/g, "\n");
    }

    /* In slices, since the lexer is not linear in what it is given at once. */
    #make_all(text, goes_on) {
        let at = 0;
        do {
            const slice = text.slice(at, at + SLICE);
            at += SLICE;
            this.#make(slice, goes_on || at < text.length);
        } while (at < text.length);
    }

    #make(text, goes_on) {
        this.#tail = prepare(this.#tail + text);
        const tokens = tokens_of(goes_on ? mended(this.#tail) : this.#tail);
        const settled = this.#settled(tokens);
        if (settled === 0 && this.#goes_on(tokens)) {
            return;
        }
        this.#live.forEach((node) => node.remove());
        this.#live = [];
        this.#code = null;
        for (const [i, token] of tokens.entries()) {
            const node = this.#node(token);
            if (node !== "") {
                this.#root.append(node);
                if (i >= settled) {
                    this.#live.push(node);
                }
            }
        }
        const size = tokens.slice(0, settled).reduce((sum, token) => sum + token.raw.length, 0);
        this.#tail = this.#tail.slice(size);
    }

    /* How many tokens will not change any more: all but the last that is to be seen. */
    #settled(tokens) {
        let last = tokens.length - 1;
        while (last > 0 && tokens[last].type === "space") {
            last--;
        }
        let at = 0;
        for (const [i, token] of tokens.slice(0, Math.max(last, 0)).entries()) {
            if (!this.#tail.startsWith(token.raw, at)) {
                return i; /* the library joined lines its own way: wait for more */
            }
            at += token.raw.length;
        }
        return Math.max(last, 0);
    }

    #node(token) {
        if (token.type === "space") {
            return "";
        }
        this.#code = token.type === "code" ? code_block(token) : null;
        return this.#code?.figure ?? block(token);
    }

    /* True when the only block is the code block that stands there, and was written on. */
    #goes_on(tokens) {
        const [token, ...others] = tokens.filter((each) => each.type !== "space");
        const is_code = this.#code !== null && others.length === 0 && token?.type === "code";
        return is_code && continue_code(this.#code, token);
    }
}

/* A whole text at once. */
export function write_prose(root, text) {
    const prose = new Prose(root);
    prose.add(text);
    prose.end();
}
