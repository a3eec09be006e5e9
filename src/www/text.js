/* text: what models and people wrote, made fit to be shown: what would be invisible, or would turn
 * the text around it (U+202E and its kin), stands there as a visible word instead. All text of a
 * conversation that gets into a page comes through `visible`, and gets there as a text node.
 *
 * Left alone: what scripts need in order to be read (joiners, variation selectors), line feeds and
 * tabs, and the tags of a flag (U+1F3F4 and what follows).
 */

const HIDDEN =
    /\u{1F3F4}[\u{E0020}-\u{E007F}]+|[\0-\x08\x0B-\x1F\x7F-\x9F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}]/gu;

function name(character) {
    const code = character.codePointAt(0);
    if (code === 0x1f3f4) {
        return character;
    }
    if (code < 0x20) {
        return String.fromCodePoint(0x2400 + code); /* its picture */
    }
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

export function visible(text) {
    return text.replace(HIDDEN, name);
}

/* element("p", {className: "why"}, "text", node, ...): texts become text nodes, as they are. */
export function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

/* A picture of the sprite in index.html. */
export function icon(id) {
    const space = "http://www.w3.org/2000/svg";
    const picture = document.createElementNS(space, "svg");
    const use = document.createElementNS(space, "use");
    picture.setAttribute("class", "icon");
    picture.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#${id}`);
    picture.append(use);
    return picture;
}

/* navigator.clipboard exists on https and on this machine only; the page may be elsewhere. */
export async function copy(text) {
    if (navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        return;
    }
    const area = element("textarea", { value: text, className: "unseen", readOnly: true });
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    if (!done) {
        throw new Error("the browser does not copy");
    }
}

/* A button that copies what `text()` gives, and says so. */
export function copyButton(label, text) {
    const words = element("span", {}, label);
    const button = element("button", { type: "button", className: "quiet" }, icon("copy"), words);
    let back = 0;
    button.addEventListener("click", async () => {
        let said = "Copied";
        try {
            await copy(text());
        } catch {
            said = "Not copied";
        }
        words.textContent = said;
        clearTimeout(back);
        back = setTimeout(() => (words.textContent = label), 2000);
    });
    return button;
}
