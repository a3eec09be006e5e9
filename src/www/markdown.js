/* markdown: Markdown to nodes of a page. The grammar is the library's (marked, see
 * doc/decisions/0010-chat-page.md), of which only the lexer is used: its tokens become elements
 * here, one function for each kind, and all text becomes text nodes. There is no way from a text
 * to HTML, attributes or addresses other than these functions.
 *
 * What differs from Markdown on purpose: HTML is text; link definitions are text (they would be
 * invisible); images are links, never loaded; links lead to http and https only, anything else
 * stays as it was written.
 *
 * The surprise: some patterns of the library take quadratic time, so a paragraph that could hold
 * up the page (`costs_too_much`) is shown as plain text. */
import { copy_button, element } from "./dom.js";
import { visible } from "./text.js";

const DEPTH_MAX = 24; /* of lists, quotes and emphasis; what is deeper is shown as written */
const INLINE_MAX = 8192; /* characters of one paragraph or cell */
const COST_MAX = 4e6; /* its characters times its marks; about 0.1 s at the worst */
const TOO_DEEP = /^(?: *(?:>|(?:[-*+]|\d{1,9}[.)]) )){24}/; /* as above, at the front of one line */
const TAB = "\uE009"; /* a tab of a code block, which the library would make four blanks */

const { Lexer, Tokenizer, getDefaults } = globalThis.marked;

class PlainTokenizer extends Tokenizer {
    html() {}
    tag() {}
    def() {}
}

/* ---- from text to tokens ---- */

function costs_too_much(text) {
    const marks = text.match(/[*_~`<[!]/g)?.length ?? 0;
    return text.length > INLINE_MAX || text.length * marks > COST_MAX;
}

function as_written(text) {
    return { type: "text", raw: text, text };
}

class SafeLexer extends Lexer {
    inlineTokens(text, tokens = []) {
        if (costs_too_much(text)) {
            tokens.push(as_written(text));
            return tokens;
        }
        return super.inlineTokens(text, tokens);
    }
}

/* A line outside of code: tabs at its front as the lexer has them, so that its tokens' `raw` is
 * found in the text again; and one that begins too many lists and quotes begins none. */
function prepare_line(line) {
    const even = line.replace(/^ *\t+/, (blanks) => blanks.replaceAll("\t", "    "));
    return TOO_DEEP.test(even) ? `\\${even}` : even;
}

/* What the lexer is to read. Of code it keeps the tabs, without which a Makefile is worth nothing.
 * Text that is prepared already stays as it is. */
export function prepare(text) {
    let fence = null;
    const lines = text.split("\n").map((line) => {
        const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
        if (mark && fence === null) {
            fence = mark;
        } else if (mark?.startsWith(fence)) {
            fence = null;
        }
        return fence === null ? prepare_line(line) : line.replaceAll("\t", TAB);
    });
    return lines.join("\n");
}

/* Tokens of the top level. The text must be prepared. */
export function tokens_of(text) {
    const options = { ...getDefaults(), gfm: true, mangle: false, tokenizer: new PlainTokenizer() };
    try {
        return new SafeLexer(options).lex(text);
    } catch {
        return [{ type: "paragraph", raw: text, tokens: [as_written(text)] }]; /* too deep */
    }
}

/* ---- text ---- */

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00A0" };

/* The library escapes texts for HTML. Undone, and the five entities that models write read too. */
function plain(text) {
    const read = text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (match, name) => ENTITIES[name]);
    return visible(read.replaceAll(TAB, "\t"));
}

/* A block that goes on has a line feed more. */
function code_text(token) {
    return visible(token.text.replace(/\n$/, "").replaceAll(TAB, "\t"));
}

/* The address when a link may lead there. */
function safe_address(text) {
    if (!/^https?:\/\//i.test(text)) {
        return null;
    }
    try {
        return new URL(text).href;
    } catch {
        return null;
    }
}

function link_to(address, ...children) {
    return element(
        "a",
        {
            href: address,
            target: "_blank",
            rel: "noopener noreferrer",
            referrerPolicy: "no-referrer",
            title: visible(address),
        },
        ...children,
    );
}

/* ---- inline tokens: each makes a node or a text ---- */

const INLINE = {
    text: (token) => plain(token.text),
    escape: (token) => plain(token.text),
    br: () => element("br"),
    codespan: (token) => element("code", {}, plain(token.text)),
    strong: (token, depth) => element("strong", {}, ...inline(token.tokens, depth)),
    em: (token, depth) => element("em", {}, ...inline(token.tokens, depth)),
    del: (token, depth) => element("del", {}, ...inline(token.tokens, depth)),
    link: (token, depth) => {
        const address = safe_address(plain(token.href ?? ""));
        return address ? link_to(address, ...inline(token.tokens, depth)) : plain(token.raw);
    },
    image: (token) => {
        const address = safe_address(plain(token.href ?? ""));
        return address ? link_to(address, plain(token.text || token.href)) : plain(token.raw);
    },
};

function inline(tokens, depth) {
    const kind = (token) => (depth > 0 ? INLINE[token.type] : null);
    return tokens.map((token) => kind(token)?.(token, depth - 1) ?? plain(token.raw));
}

/* ---- blocks: each makes a node ---- */

/* The parts of a code block that a stream goes on writing to. */
export function code_block(token) {
    const language = visible((token.lang ?? "").split(/\s/)[0].slice(0, 32));
    const text = document.createTextNode(code_text(token));
    const figure = element(
        "figure",
        { className: "code" },
        element(
            "figcaption",
            {},
            element("span", {}, language || "code"),
            copy_button("Copy", () => text.data),
        ),
        element("pre", { tabIndex: 0 }, element("code", {}, text)),
    );
    return { figure, text, language: token.lang };
}

/* False when the token does not go on with what stands there. */
export function continue_code(block, token) {
    const text = code_text(token);
    const goes_on = token.lang === block.language && text.startsWith(block.text.data);
    if (goes_on) {
        block.text.appendData(text.slice(block.text.length));
    }
    return goes_on;
}

function list_item(item, depth) {
    const made = element("li", {}, ...blocks(item.tokens, depth));
    if (item.task) {
        const box = element("input", { type: "checkbox", checked: item.checked, disabled: true });
        box.setAttribute("aria-label", item.checked ? "done" : "to do");
        made.className = "task";
        made.prepend(box);
    }
    return made;
}

function list(token, depth) {
    const items = token.items.map((item) => list_item(item, depth));
    const made = element(token.ordered ? "ol" : "ul", {}, ...items);
    if (token.ordered && token.start > 1) {
        made.start = Math.min(token.start, 1e9);
    }
    return made;
}

function table_row(tag, cells, align, depth) {
    const made = cells.map((cell, i) => {
        const one = element(tag, { dir: "auto" }, ...inline(cell.tokens, depth));
        one.className = align[i] ? `to-${align[i]}` : "";
        return one;
    });
    return element("tr", {}, ...made);
}

function table(token, depth) {
    const rows = token.rows.map((row) => table_row("td", row, token.align, depth));
    const head = element("thead", {}, table_row("th", token.header, token.align, depth));
    const box = element(
        "div",
        { className: "table", tabIndex: 0 },
        element("table", {}, head, element("tbody", {}, ...rows)),
    );
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Table");
    return box;
}

/* Headings of an answer stand below those of the page. */
function heading(token, depth) {
    const level = Math.min(token.depth + 3, 6);
    const properties = { className: `level-${token.depth}`, dir: "auto" };
    return element(`h${level}`, properties, ...inline(token.tokens, depth));
}

const BLOCK = {
    space: () => "",
    hr: () => element("hr"),
    code: (token) => code_block(token).figure,
    heading,
    list,
    table,
    paragraph: (token, depth) => element("p", { dir: "auto" }, ...inline(token.tokens, depth)),
    /* of a list item whose lines stand close */
    text: (token, depth) =>
        element("span", { dir: "auto" }, ...inline(token.tokens ?? [token], depth)),
    blockquote: (token, depth) => element("blockquote", {}, ...blocks(token.tokens, depth)),
};

function blocks(tokens, depth) {
    return tokens.map((token) => block(token, depth));
}

/* The node of one token; "" where there is nothing to see. */
export function block(token, depth = DEPTH_MAX) {
    const make = depth > 0 ? BLOCK[token.type] : null;
    return make?.(token, depth - 1) ?? element("p", {}, plain(token.raw));
}
