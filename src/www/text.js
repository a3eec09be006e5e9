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
    return code === 0x1f3f4 ? character : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

export function visible(text) {
    return text.replace(HIDDEN, name);
}
