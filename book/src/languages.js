// The languages in which the book is there. A translation is `book/po/<code>.po` and a line here, built into its folder; a test
// holds the two together. With one language there is nothing to choose from.
"use strict";
window.languages = [
    { code: "en", name: "English", folder: "" },
];
