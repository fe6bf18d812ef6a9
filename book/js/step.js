// Steps through a picture of a failure, row by row, on both sides at once. Without this file the whole picture is there.
"use strict";
for (const picture of document.querySelectorAll(".timelines")) {
    const [previous, next, all, step] = picture.dataset.words.split("|");
    const parts = [...picture.querySelectorAll(".step")];
    const last = Math.max(...parts.map(part => Number(part.dataset.row)));
    let row = last;
    const bar = document.createElement("div");
    const said = document.createElement("span");
    const show = to => {
        row = Math.min(Math.max(to, 0), last);
        for (const part of parts) {
            part.classList.toggle("to-come", part.dataset.row > row);
            part.classList.toggle("now", row < last && part.dataset.row == row);
        }
        said.textContent = `${step} ${row + 1} / ${last + 1}`;
    };
    const button = (name, sign, to) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = sign;
        button.title = name;
        button.setAttribute("aria-label", name);
        button.addEventListener("click", () => show(to()));
        return button;
    };
    // From the whole picture the first step is the beginning.
    const on = () => (row == last ? 0 : row + 1);
    bar.className = "timeline-steps";
    said.setAttribute("role", "status");
    bar.append(button(previous, "◀", () => row - 1), button(next, "▶", on), button(all, all, () => last), said);
    // mdBook turns pages with these keys, but not while they are used here.
    bar.addEventListener("keydown", event => {
        const to = { ArrowLeft: () => row - 1, ArrowRight: on, Home: () => 0, End: () => last }[event.key];
        if (to) {
            event.preventDefault();
            event.stopPropagation();
            show(to());
        }
    });
    picture.prepend(bar);
    show(last);
}
