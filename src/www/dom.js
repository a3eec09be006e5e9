/* dom: the few helpers with which the pages make their elements; texts become text nodes. */

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
export function copy_button(label, text) {
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
