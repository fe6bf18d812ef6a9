// What a reader needs who searches, or who has no mouse. Without this file every page is there all the same.
"use strict";

// mdBook lets no form of a page be sent; what the box on the cover asks is a question to its search.
for (const form of document.querySelectorAll(".symptom form")) {
    const question = form.parentElement.querySelector("p").textContent;
    for (const element of form.elements) {
        element.setAttribute("aria-label", question);
    }
    form.addEventListener("submit", () => {
        const words = encodeURIComponent(form.elements.search.value.trim());
        location.href = `${form.action}?search=${words}`;
    });
}

// The way past the table of contents stands in the page, behind it; a keyboard has to come to it first.
const skip = document.querySelector(".skip");
const content = document.getElementById("mdbook-content");
content.tabIndex = -1;
document.body.prepend(skip);
// mdBook scrolls the table of contents to the page's own entry, and browsers would begin there.
addEventListener("load", () => {
    if (location.hash || document.activeElement !== document.body) {
        return;
    }
    const beginning = document.createElement("span");
    beginning.tabIndex = -1;
    document.body.prepend(beginning);
    beginning.focus({ preventScroll: true });
    beginning.remove();
});

// Verdicts are sentences, and may be broken anywhere; transcripts, interleavings and what has columns are tables.
for (const report of document.querySelectorAll("main pre > code.language-text")) {
    report.classList.toggle("sentences", !/^interleaving | ms  |\S {3,}\S+ {3,}\S/m.test(report.textContent));
}

const textsOf = element => {
    const texts = [];
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        texts.push(walker.currentNode);
    }
    return texts;
};

// A piece of code that fits into every line is not broken; a style sheet cannot see how long it is. A word of a longer one, and any
// in a table or beside a picture, is broken where its parts end, as in `path/of/a_file.rs` or `ServiceBuilder`, and an option
// such as `--json` is not.
const LONG = 34;
const ENDS = /([^/:]\/(?=[^/])|::|_|\w\(|[a-z](?=[A-Z])|\w(?=\.[a-z]))(?=\S)/g;
const broken = (word, narrow) => {
    if (/^--?\w[\w-]*$/.test(word)) {
        const whole = document.createElement("bdi");
        whole.className = "whole";
        whole.textContent = word;
        return [whole];
    }
    const pieces = narrow || word.length > LONG ? word.replace(ENDS, "$1\n").split("\n") : [word];
    return pieces.flatMap((piece, place) => (place ? [document.createElement("wbr"), piece] : [piece]));
};
for (const code of document.querySelectorAll("main :not(pre) > code, main pre.typed")) {
    code.classList.toggle("short", code.textContent.length < 30);
    const narrow = code.closest("td, h1, h2, h3, .timelines") != null;
    for (const text of textsOf(code)) {
        const words = text.data.split(/(\s+)/);
        text.replaceWith(...words.flatMap(word => (word.trim() ? broken(word, narrow) : [word])));
    }
}

// A listing from the midst of a function begins at the margin.
for (const listing of document.querySelectorAll("main pre > code.language-rust")) {
    const indents = listing.textContent.split("\n").filter(line => line.trim()).map(line => line.search(/\S/));
    const indent = Math.min(...indents);
    let left = indent;
    for (const text of indent > 0 && isFinite(indent) ? textsOf(listing) : []) {
        text.data = [...text.data].filter(letter => {
            const drop = letter == " " && left > 0;
            left = letter == "\n" ? indent : drop ? left - 1 : 0;
            return !drop;
        }).join("");
    }
}

// A block of code that scrolls can be scrolled by a keyboard too, and mdBook does not turn the page then.
const scrolling = () => {
    for (const block of document.querySelectorAll("main pre, main pre > code, main .table-wrapper, main .wide-picture")) {
        const scrolls = block.scrollWidth > block.clientWidth + 1 && getComputedStyle(block).overflowX == "auto";
        block.toggleAttribute("tabindex", scrolls);
        if (scrolls) {
            block.tabIndex = 0;
        }
    }
};
document.addEventListener("keydown", event => {
    const sideways = event.key == "ArrowLeft" || event.key == "ArrowRight";
    if (sideways && event.target.matches("main pre, main pre > code, main .table-wrapper, main .wide-picture")) {
        event.stopPropagation();
    }
}, true);
// What is in a fold has no width before it is open.
document.addEventListener("toggle", scrolling, true);
addEventListener("resize", scrolling);
scrolling();

// mdBook opens its table of contents by a label, to which no keyboard comes.
const contents = document.getElementById("mdbook-sidebar-toggle");
contents.tabIndex = 0;
contents.setAttribute("role", "button");
contents.addEventListener("keydown", event => {
    if (event.key == "Enter" || event.key == " ") {
        event.preventDefault();
        contents.click();
    }
});

// The same page in the other languages that are there, with each name in its own language.
const chooseLanguage = languages => {
    const root = new URL(path_to_root || ".", location.href).href;
    const here = languages.find(language => language.code == document.documentElement.lang);
    const base = here?.folder ? new URL("..", root).href : root;
    const page = location.href.slice(root.length);
    const links = languages.filter(language => language != here).map(language => {
        const link = document.createElement("a");
        link.href = base + (language.folder ? `${language.folder}/` : "") + page;
        link.hreflang = link.lang = language.code;
        link.textContent = language.name;
        return link;
    });
    if (links.length) {
        const choice = document.createElement("span");
        choice.className = "languages";
        choice.append(...links);
        document.querySelector(".right-buttons").prepend(choice);
    }
};
chooseLanguage(window.languages ?? []);
