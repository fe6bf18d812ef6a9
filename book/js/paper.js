// On paper nothing unfolds and no link can be followed: the folds are opened, and each chapter ends with its addresses.
"use strict";
const addresses = () => {
    if (document.querySelector(".paper-notes")) {
        return;
    }
    const main = document.querySelector("main");
    let found = new Map();
    const ended = end => {
        if (found.size) {
            const list = document.createElement("ol");
            list.className = "paper-notes";
            list.append(...[...found.keys()].map(address => {
                const note = document.createElement("li");
                note.textContent = address;
                return note;
            }));
            main.insertBefore(list, end);
        }
        found = new Map();
    };
    for (const part of [...main.children]) {
        // The page with the whole book begins each chapter so.
        if (part.style.breakBefore == "page") {
            ended(part);
        }
        for (const link of part.querySelectorAll('a[href^="http"]')) {
            if (!found.has(link.href)) {
                found.set(link.href, found.size + 1);
            }
            const number = document.createElement("sup");
            number.className = "paper-note";
            number.textContent = found.get(link.href);
            link.after(number);
        }
    }
    ended(null);
};

let folded = [];
addEventListener("beforeprint", () => {
    addresses();
    folded = [...document.querySelectorAll("main details:not([open])")];
    folded.forEach(fold => (fold.open = true));
});
addEventListener("afterprint", () => folded.forEach(fold => (fold.open = false)));
