"use strict";

// How many samples a chart shows.
const SHOWN = 180;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 90;
const by = (id) => document.getElementById(id);
const room = document.body.classList.contains("room");

let services = [];
let chosen = 0;
let samples = [];
let lines = [];
let bought = 0;
let over = false;
let examples = [];
let limit = 0;
let due = false;

const sum = (point) => point.errors + point.broken;
const charts = [
    { title: "Requests a second", of: (p) => p.requests },
    { title: "4xx a second", of: (p) => p.refused },
    { title: "5xx and broken off, a second", of: sum },
    { title: "P50, P95, P99", unit: "ms", latency: ["p50_ms", "p95_ms", "p99_ms"] },
    { title: "First byte, P95", unit: "ms", of: (p) => p.first_byte_ms },
    { title: "Heat", heat: true },
    { title: "In flight", of: (p) => p.in_flight },
    { title: "Tasks", of: (p) => p.tasks },
    { title: "Inbound connections", of: (p) => p.connections },
];

function element(name, attributes = {}, text) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== undefined) made.textContent = text;
    return made;
}

function drawn(name, attributes) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
}

function minutes(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    return String(Math.floor(whole / 60)).padStart(2, "0") + ":" + String(whole % 60).padStart(2, "0");
}

function short(value) {
    return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

function option(select, value, text) {
    select.append(element("option", { value }, text.replaceAll("`", "")));
}

function makeCharts() {
    for (const chart of charts) {
        const figure = element("figure");
        const caption = element("figcaption");
        chart.caption = element("span", {}, chart.title);
        chart.most = element("span", { class: "most" });
        caption.append(chart.caption, chart.most);
        chart.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
        chart.now = element("p", { class: "now" });
        figure.append(caption, chart.svg, chart.now);
        by("charts").append(figure);
    }
}

function draw() {
    const shown = samples.slice(-SHOWN);
    if (!shown.length) return;
    for (const chart of charts) {
        chart.svg.replaceChildren(drawn("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }));
        chart.now.replaceChildren();
        const one = chart.latency || chart.heat;
        chart.caption.textContent = one ? `${chart.title}, ${services[chosen]}` : chart.title;
        if (chart.heat) heat(chart, shown);
        else curves(chart, shown);
    }
}

function curves(chart, shown) {
    const of = chart.latency
        ? chart.latency.map((key, place) => [key.slice(0, 3).toUpperCase(), (sample) => sample.points[chosen][key], `q${place}`])
        : services.map((name, place) => [name, (sample) => chart.of(sample.points[place]), `s${place}`]);
    const most = Math.max(1, ...shown.flatMap((sample) => of.map(([, value]) => value(sample))));
    const unit = chart.unit ? " " + chart.unit : "";
    chart.most.textContent = `to ${short(most)}${unit}`;
    for (const [name, value, kind] of of) {
        const points = shown.map((sample, at) => {
            const x = WIDTH - (shown.length - 1 - at) * (WIDTH / (SHOWN - 1));
            return `${x.toFixed(1)} ${(HEIGHT - 2 - (value(sample) / most) * (HEIGHT - 6)).toFixed(1)}`;
        });
        chart.svg.append(drawn("path", { class: `line ${kind}`, d: "M" + points.join("L") }));
        const last = short(value(shown[shown.length - 1]));
        chart.now.append(element("span", { class: `key ${kind}` }, `${name} ${last}`));
    }
}

function heat(chart, shown) {
    const rows = shown[0].points[chosen].heat.length;
    const most = Math.max(1, ...shown.flatMap((sample) => sample.points[chosen].heat));
    const [width, height] = [WIDTH / SHOWN, HEIGHT / rows];
    shown.forEach((sample, at) => {
        sample.points[chosen].heat.forEach((count, row) => {
            if (!count) return;
            const x = WIDTH - (shown.length - at) * width;
            const opacity = (0.25 + 0.75 * (Math.log(count + 1) / Math.log(most + 1))).toFixed(2);
            const y = HEIGHT - (row + 1) * height;
            chart.svg.append(drawn("rect", { class: "cell", x, y, width: width + 0.1, height, opacity }));
        });
    });
    chart.most.textContent = "1 ms to 10 s";
    const counts = shown[shown.length - 1].points[chosen].heat;
    const slowest = counts.findLastIndex((count) => count > 0);
    const from = slowest < 0 ? "none has ended" : `slowest now from ${short(10 ** (slowest / 3))} ms`;
    chart.now.append(element("span", {}, from));
}

// News may come quicker than they can be drawn, so they are drawn once a frame. A tab that nobody sees has no frames, and
// draws when somebody does.
function soon() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
        due = false;
        draw();
        tail();
    });
}

function tail() {
    if (room) return;
    const words = by("filter").value.toLowerCase();
    const from = by("from").value;
    const box = by("log");
    const follows = box.scrollTop + box.clientHeight > box.scrollHeight - 30;
    const told = lines
        .map((line) => [line, `${minutes(line.at_ms / 1000)} ${line.level} ${line.from}: ${line.text}`])
        .filter(([line, text]) => (!from || line.from === from) && text.toLowerCase().includes(words));
    box.replaceChildren(...told.slice(-200).map(([line, text]) => element("p", { class: line.level }, text)));
    const dropped = lines.length && lines[0].number > 0;
    const none = dropped ? `none of the last ${lines.length} lines has it` : "no line has it";
    if (lines.length && !told.length) box.append(element("p", {}, none));
    if (follows) box.scrollTop = box.scrollHeight;
}

function show(all) {
    const parts = all.slice(bought).map((one) => {
        const details = element("details", { open: "" });
        details.append(element("summary", {}, `${minutes(one.at_s)} ${one.title}, ${one.minutes} min`));
        details.append(element("pre", { tabindex: "0" }, one.text));
        return details;
    });
    bought = Math.max(bought, all.length);
    by("shown").prepend(...parts.reverse());
}

function tell(grade) {
    if (over) return;
    over = true;
    document.querySelectorAll("form button").forEach((button) => { button.disabled = true; });
    const box = by("grade");
    const right = [grade.place, grade.ghost, grade.layer, grade.first, grade.fix].filter(Boolean).length;
    const late = grade.late ? ", after the time was over" : "";
    box.replaceChildren(
        element("h3", {}, `It was ${grade.slug}, in ${grade.service}`),
        element("p", {}, `${grade.title}. ${right} of 5 right, after ${minutes(grade.took_s)}${late}.`),
    );
    const answers = element("ul");
    const parts = [
        ["The service", grade.place, grade.given.service, grade.service],
        ["The ghost", grade.ghost, grade.given.ghost, grade.slug],
        ["Where", grade.layer, grade.given.layer, grade.right.layer],
        ["First", grade.first, grade.given.first, grade.right.first.join("; or: ")],
        ["The fix", grade.fix, grade.given.fix, grade.right.fix],
    ];
    for (const [what, is, given, answer] of parts) {
        const said = is ? given : `you said ${given}; it was ${answer}`;
        const item = element("li");
        item.append(element("span", { class: `mark ${is ? "right" : "wrong"}` }, is ? "right" : "wrong"), ...coded(` ${what}: ${said}`));
        answers.append(item);
    }
    box.append(answers);
    if (!grade.first) box.append(element("p", {}, `Why that helps first: ${grade.right.helps}`));
    box.append(element("h3", {}, "What would have told it"), list(grade.told));
    box.append(element("h3", {}, "What had nothing to do with it"), list(grade.herrings));
    const chapter = element("p", {}, "The chapter: ");
    chapter.append(element("code", {}, `book/src/${grade.slug}.md`), ", or ", element("code", {}, "cargo ghosts book"), ".");
    box.append(chapter);
    box.focus();
}

function list(texts) {
    const made = element("ul");
    for (const text of texts) {
        const item = element("li");
        item.append(...coded(text));
        made.append(item);
    }
    return made;
}

// What stands between backticks is code.
function coded(text) {
    return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

// What an everyday request of the service looks like: whoever runs it knows that.
function paths() {
    const known = examples[services.indexOf(by("looked").value)];
    by("paths").replaceChildren(...known.map(([, value]) => element("option", { value })));
    if (by("paths").dataset.typed) return;
    [by("ask").elements.method.value, by("ask").elements.path.value] = known[0];
}

async function send(where, what) {
    const answer = await fetch(where, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(what) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
}

async function look(what) {
    by("busy").textContent = "looking …";
    try {
        const shown = await send("look", what);
        by("busy").textContent = `${shown.title}: ${shown.minutes} min`;
    } catch (error) {
        by("busy").textContent = error.message;
    }
}

function forms(setup) {
    for (const [place, name] of services.entries()) {
        const label = element("label");
        const radio = element("input", { type: "radio", name: "chosen", value: place });
        radio.checked = place === chosen;
        radio.addEventListener("change", () => { chosen = place; draw(); });
        label.append(radio, element("span", { class: `key s${place}` }, name));
        by("services").append(label);
        option(by("looked"), name, name);
        option(by("from"), name, name);
    }
    paths();
    ["edge", "#ops"].forEach((name) => option(by("from"), name, name));
    const answer = by("answer");
    const choices = setup.choices;
    const fill = (name, texts) => {
        option(answer.elements[name], "", "choose");
        texts.forEach((text) => (Array.isArray(text) ? option(answer.elements[name], text[0], `${text[0]}: ${text[1]}`) : option(answer.elements[name], text, text)));
    };
    fill("service", services);
    fill("ghost", choices.ghosts);
    fill("layer", choices.layers);
    fill("first", choices.firsts);
    fill("fix", choices.fixes);
    by("filter").addEventListener("input", tail);
    by("from").addEventListener("change", tail);
    by("looks").addEventListener("submit", (event) => {
        event.preventDefault();
        look({ look: event.submitter.value, service: by("looked").value });
    });
    by("ask").addEventListener("submit", (event) => {
        event.preventDefault();
        const asked = new FormData(event.target);
        look({ look: "ask", service: by("looked").value, method: asked.get("method"), path: asked.get("path"), header: asked.get("header") });
    });
    by("looked").addEventListener("change", paths);
    by("ask").elements.path.addEventListener("input", () => { by("paths").dataset.typed = "yes"; });
    answer.addEventListener("submit", async (event) => {
        event.preventDefault();
        tell(await send("answer", Object.fromEntries(new FormData(answer))));
    });
}

async function begin() {
    const setup = await (await fetch("setup")).json();
    services = setup.services;
    // A number and its sign stay on one line.
    by("pager").replaceChildren(...coded(setup.pager.replaceAll(" %", "\u00a0%")));
    by("seed").textContent = setup.seed;
    by("edge").textContent = setup.edge;
    examples = setup.examples;
    limit = minutes(60 * setup.minutes);
    if (!room) forms(setup);
    makeCharts();
    const events = new EventSource("events");
    let anew = false;
    // A connection that was lost begins at the beginning again.
    events.addEventListener("open", () => { anew = true; });
    events.addEventListener("message", (event) => {
        const news = JSON.parse(event.data);
        if (anew) [samples, lines, anew] = [[], [], false];
        samples.push(...news.samples);
        lines.push(...news.lines);
        lines = lines.slice(-2000);
        by("clock").textContent = minutes(news.clock_s);
        const late = news.clock_s > news.limit_s;
        document.body.classList.toggle("over", late);
        const real = samples.length ? `, real ${minutes(samples[samples.length - 1].at_s)}` : "";
        by("limit").textContent = `of ${limit}${late ? ": the time is over" : ""}${real}`;
        show(news.bought);
        if (news.grade) tell(news.grade);
        soon();
    });
}

begin();
