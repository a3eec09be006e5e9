/* chat: the conversation of the chat page: what is asked, of whom, and what becomes of it.
 *
 * A conversation is a list of turns, a turn a question and its answers (`Ask again` adds one, so
 * that they can be compared). What is sent is every turn with an answer, each with its last.
 * Everything is kept in sessionStorage: going to the dashboard and back, or loading the page
 * again, loses nothing, closing the tab forgets it all, and another tab has its own.
 *
 * One question is under way at a time. Its end is in `run` and nowhere else. */
import { AnswerView } from "./answer.js";
import { load_choices } from "./choice.js";
import { element, icon } from "./dom.js";
import { Session } from "./session.js";
import { ask } from "./stream.js";
import { visible } from "./text.js";

const AT_END = 48; /* pixels from the end that still count as being there */
const SPOKEN_MAX = 1500; /* characters of an answer that a screen reader is told by itself */

const EASY = "What is the capital of Australia?";
const HARD =
    "Prove that the square root of 2 is irrational. Explain why each step follows, and show in a " +
    "short Python function where a floating-point argument would fail.";
const STARTERS = [
    { picture: "feather", title: "Something easy", words: EASY, start: () => put_question(EASY) },
    { picture: "mountain", title: "Something hard", words: HARD, start: () => put_question(HARD) },
    {
        picture: "twice",
        title: "The same, twice",
        words: "The second answer comes from the cache, at once and for nothing.",
        start: () => put_question(EASY, { twice: true }),
    },
];

const at = (id) => document.getElementById(id);
const page = {
    welcome: at("welcome"),
    conversation: at("conversation"),
    composer: at("composer"),
    prompt: at("prompt"),
    choice: at("choice"),
    send: at("send"),
    stop: at("stop"),
    down: at("down"),
    said: at("said"),
};

const session = new Session();
let turns = []; /* {question, answers} as they are stored */
let views = []; /* of all answers */
let running = null; /* the AbortController of what is under way */
let is_leaving = false; /* what the browser cuts then is no failure */
let follows = true; /* the page moves along with what comes */
let left_at = 0; /* where it was moved to */

/* ---- the page ---- */

function is_at_end() {
    const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
    return scrollHeight - clientHeight - scrollTop < AT_END;
}

function to_end() {
    window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    follows = true;
    left_at = document.documentElement.scrollTop;
}

/* Who has just scrolled up is left there, even if the event that tells so is yet to come. */
function moved() {
    const { scrollTop } = document.documentElement;
    follows = follows && (scrollTop > left_at - AT_END || is_at_end());
    if (follows && turns.length > 0) {
        to_end();
    }
    page.down.hidden = follows;
}

function say(text) {
    page.said.textContent = text;
}

function show_state() {
    page.welcome.hidden = turns.length > 0;
    page.send.hidden = running !== null;
    page.stop.hidden = running === null;
    document.querySelectorAll(".another").forEach((one) => (one.disabled = running !== null));
    document.body.classList.toggle("is-empty", turns.length === 0);
}

function show_answer(answer, box) {
    const view = new AnswerView(answer, { again: ask_again, changed: moved });
    view.name_choice(page.choice.value);
    views.push(view);
    box.append(view.root);
    return view;
}

function show_turn(turn) {
    const question = element("p", { className: "question", dir: "auto" }, visible(turn.question));
    const box = element("section", { className: "turn" });
    box.setAttribute("aria-label", `Turn ${page.conversation.childElementCount + 1}`);
    box.append(element("h2", { className: "unseen" }, "You asked"), question);
    page.conversation.append(box);
    turn.answers.forEach((answer) => show_answer(answer, box));
    return box;
}

function show_conversation() {
    page.conversation.replaceChildren();
    views = [];
    turns.forEach(show_turn);
    show_state();
}

/* ---- asking ---- */

/* What is sent when `turn` is asked. */
function messages_of(turn) {
    const before = turns.slice(0, turns.indexOf(turn));
    const spoken = before.flatMap(({ question, answers }) => {
        const last = answers.findLast((answer) => answer.text !== "");
        const said = [{ role: "user", content: question }];
        return last ? [...said, { role: "assistant", content: last.text }] : [];
    });
    return [...spoken, { role: "user", content: turn.question }];
}

function new_answer() {
    return {
        state: "waiting",
        text: "",
        asked: page.choice.value,
        facts: { cost: null, saved: null, overhead_us: null, usage: null },
        latency_ms: 0,
        first_ms: null,
    };
}

/* How an answer ended, for those who do not see it. */
function tell(answer) {
    if (answer.state === "done") {
        const text = answer.text.slice(0, SPOKEN_MAX);
        const more = answer.text.length > SPOKEN_MAX ? " … The rest is in the conversation." : "";
        say(`Answer of ${visible(answer.facts.provider ?? "")}: ${visible(text)}${more}`);
    } else if (answer.state === "stopped") {
        say("Stopped.");
    }
}

function follow_answer(answer, view) {
    const begin = performance.now();
    const mark_first = () => (answer.first_ms ??= performance.now() - begin);
    return {
        begin,
        head(facts) {
            answer.facts = { ...answer.facts, ...facts };
            view.show();
            moved();
        },
        thinks() {
            mark_first();
            if (!answer.is_thinking) {
                answer.is_thinking = true;
                view.show();
            }
        },
        text(piece) {
            mark_first();
            answer.text += piece;
            if (answer.state !== "streaming" || answer.is_thinking) {
                answer.state = "streaming";
                answer.is_thinking = false;
                view.show();
            }
            view.add(piece);
        },
    };
}

/* From the question to the end of its answer, whichever it is. */
async function run(turn, answer, view, is_fresh) {
    const control = new AbortController();
    const on = follow_answer(answer, view);
    const question = { model: answer.asked, messages: messages_of(turn), is_fresh };
    running = control;
    show_state();
    try {
        const facts = await ask({ ...question, signal: control.signal }, on);
        answer.facts = { ...answer.facts, ...facts };
        answer.state = "done";
    } catch (error) {
        const { message, status, code, request_id, retry_after_s } = error;
        answer.state = error.name === "AbortError" || is_leaving ? "stopped" : "failed";
        answer.failure = { message, status, code, request_id, retry_after_s };
    }
    answer.latency_ms = performance.now() - on.begin;
    answer.is_thinking = false;
    running = null;
    view.end();
    view.show();
    tell(answer);
    session.count(answer);
    session.keep(turns);
    show_state();
    moved();
    return answer.state === "done";
}

async function put_question(text, { twice = false } = {}) {
    if (running !== null || text.trim() === "") {
        return;
    }
    const answer = new_answer();
    const turn = { question: text, answers: [answer] };
    turns.push(turn);
    const box = show_turn(turn);
    page.prompt.focus({ preventScroll: true });
    to_end();
    say(`Asking ${answer.asked}`);
    const done = await run(turn, answer, views.at(-1), false);
    if (done && twice) {
        await another_answer(turn, box, false);
    }
}

async function another_answer(turn, box, is_fresh) {
    const answer = new_answer();
    turn.answers.push(answer);
    const view = show_answer(answer, box);
    view.root.scrollIntoView({ block: "nearest" });
    await run(turn, answer, view, is_fresh);
}

/* A failed answer makes room for the next try; others stay beside it. */
function ask_again(answer, { is_fresh = false }) {
    if (running !== null) {
        return;
    }
    const i = turns.findIndex((turn) => turn.answers.includes(answer));
    const box = page.conversation.children[i];
    if (answer.state === "failed") {
        const view = views.find((one) => one.shows(answer));
        turns[i].answers = turns[i].answers.filter((one) => one !== answer);
        views = views.filter((one) => one !== view);
        view.root.remove();
    }
    page.prompt.focus({ preventScroll: true });
    say(`Asking ${page.choice.value} again`);
    another_answer(turns[i], box, is_fresh);
}

/* ---- what people do ---- */

function fit_prompt() {
    page.prompt.style.height = "auto";
    page.prompt.style.height = `${page.prompt.scrollHeight}px`;
    page.send.disabled = page.prompt.value.trim() === "";
}

function send_prompt() {
    const text = page.prompt.value;
    if (running === null && text.trim() !== "") {
        page.prompt.value = "";
        fit_prompt();
        put_question(text);
    }
}

function begin_anew() {
    running?.abort();
    turns = [];
    page.prompt.value = "";
    session.keep(turns);
    show_conversation();
    fit_prompt();
    page.prompt.focus();
    say("New conversation");
}

function listen() {
    page.composer.addEventListener("submit", (event) => {
        event.preventDefault();
        send_prompt();
    });
    page.prompt.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send_prompt();
        }
    });
    page.prompt.addEventListener("input", fit_prompt);
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape") {
            running?.abort();
        }
    });
    page.stop.addEventListener("click", () => {
        running?.abort();
        page.prompt.focus();
    });
    page.down.addEventListener("click", () => {
        to_end();
        moved();
        page.prompt.focus();
    });
    page.choice.addEventListener("change", () => {
        session.choice = page.choice.value;
        views.forEach((view) => view.name_choice(page.choice.value));
    });
    at("new").addEventListener("click", begin_anew);
    window.addEventListener("scroll", () => {
        follows = is_at_end();
        page.down.hidden = follows;
    });
    window.addEventListener("resize", moved);
    window.addEventListener("beforeunload", () => (is_leaving = true));
    window.addEventListener("pageshow", () => (is_leaving = false));
    window.addEventListener("pagehide", () => {
        session.draft = page.prompt.value;
        session.keep(turns);
    });
}

function show_starters() {
    for (const { picture, title, words, start } of STARTERS) {
        const text = element("span", {}, element("strong", {}, title), element("span", {}, words));
        const button = element("button", { type: "button" }, icon(picture), text);
        button.addEventListener("click", start);
        at("starters").append(element("li", {}, button));
    }
}

async function begin() {
    turns = session.turns();
    page.prompt.value = session.draft;
    show_starters();
    listen();
    show_conversation();
    fit_prompt();
    if (turns.length > 0) {
        to_end();
    }
    page.prompt.focus({ preventScroll: true });
    try {
        const simulated = await load_choices(page.choice, session.choice);
        at("simulated").hidden = !simulated.is_all;
        AnswerView.simulated = simulated.names;
        views.forEach((view) => view.show());
        views.forEach((view) => view.name_choice(page.choice.value));
    } catch {
        say("The list of models could not be loaded.");
    }
}

begin();
