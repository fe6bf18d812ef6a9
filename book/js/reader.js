// What a reader needs who searches, or who has no mouse. Without this file every page is there all the same.
"use strict";

// mdBook lets no form of a page be sent; what the box on the cover asks is a question to its search.
for (const form of document.querySelectorAll("form.symptom")) {
    form.addEventListener("submit", () => {
        const words = encodeURIComponent(form.elements.search.value.trim());
        location.href = `${form.action}?search=${words}`;
    });
}
