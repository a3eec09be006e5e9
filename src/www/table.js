/* table: fills tables and lists so that what stays the same is not touched: focus, selection and the
 * place where a screen reader is survive each second's figures. Everything is set as text.
 *
 * A cell is a text, or {text, kind, note, title}: kind is the class of a pill ("", "good", "warn",
 * "bad"), note a second line.
 */
import { element } from "./dom.js";
import { visible } from "./text.js";

export function set_text(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}

function set_class(node, name) {
    if (node.className !== name) {
        node.className = name;
    }
}

function children(parent, tag, wanted) {
    while (parent.children.length > wanted) {
        parent.lastElementChild.remove();
    }
    while (parent.children.length < wanted) {
        parent.append(element(tag));
    }
    return parent.children;
}

function fill_cell(cell, value) {
    const { text, kind, note, title } = typeof value === "string" ? { text: value } : value;
    const [main, below] = children(cell, "span", note === undefined ? 1 : 2);
    set_text(main, visible(text));
    set_class(main, kind === undefined ? "" : `pill ${kind}`);
    if (below) {
        set_text(below, visible(note));
        set_class(below, "note");
    }
    if (main.title !== (title ?? "")) {
        main.title = title ?? "";
    }
}

/* rows: arrays of cells, as many as the table has heads. The roles are said, for a table that is
 * laid out as cards on a small screen would lose them. */
export function fill_table(table, rows) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    if (!table.hasAttribute("role")) {
        table.setAttribute("role", "table");
        table.tHead.setAttribute("role", "rowgroup");
        table.tHead.rows[0].setAttribute("role", "row");
        heads.forEach((head) => head.setAttribute("role", "columnheader"));
        body.setAttribute("role", "rowgroup");
    }
    const lines = children(body, "tr", rows.length);
    rows.forEach((row, at) => {
        const line = lines[at];
        if (line.children.length === 0) {
            line.setAttribute("role", "row");
            heads.forEach((head, column) => {
                const cell = element(column === 0 ? "th" : "td", { className: head.className });
                cell.setAttribute("role", column === 0 ? "rowheader" : "cell");
                cell.dataset.label = head.textContent;
                line.append(cell);
            });
        }
        row.forEach((value, column) => fill_cell(line.cells[column], value));
    });
}

/* A table of texts alone, made anew. */
export function plain_table(caption, heads, rows) {
    const line = (cells, tag) => {
        const made = element("tr");
        made.append(...cells.map((text, at) => {
            const cell = element(at === 0 ? "th" : tag, at === 0 ? {} : { className: "number" }, visible(text));
            cell.scope = tag === "th" ? "col" : at === 0 ? "row" : "";
            return cell;
        }));
        return made;
    };
    const table = element("table", {}, element("caption", { className: "unseen" }, caption));
    table.createTHead().append(line(heads, "th"));
    table.createTBody().append(...rows.map((row) => line(row, "td")));
    return table;
}

/* pairs: [name, text] */
export function fill_facts(list, pairs) {
    const groups = children(list, "div", pairs.length);
    pairs.forEach(([name, text], at) => {
        if (groups[at].children.length === 0) {
            groups[at].append(element("dt"), element("dd"));
        }
        set_text(groups[at].children[0], name);
        set_text(groups[at].children[1], text);
    });
}

/* entries: {name, text, series}; series is the number of a colour. */
export function fill_legend(list, entries) {
    const items = children(list, "li", entries.length);
    entries.forEach((entry, at) => {
        const [swatch, name, text] = children(items[at], "span", 3);
        set_class(swatch, `swatch series-${entry.series}`);
        set_class(name, "name");
        set_class(text, "number");
        set_text(name, visible(entry.name));
        set_text(text, entry.text);
    });
}

/* A bar in parts: [series, share] each; what it says stands beside it as text. */
export function fill_track(track, parts) {
    const pieces = children(track, "span", parts.length);
    parts.forEach(([series, share], at) => {
        set_class(pieces[at], `series-${series}`);
        const width = `${(share * 100).toFixed(2)}%`;
        if (pieces[at].style.width !== width) {
            pieces[at].style.width = width;
        }
    });
}
