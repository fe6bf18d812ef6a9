//! The book on paper, as Chromium lays it out for a printer, and as the PDF that `ghosts book --pdf` writes.

use std::fs;

use ghosts::{checkout::Checkout, read::book};

use crate::{
    browser::{Book, CONTRAST, none, texts},
    webdriver::Browser,
};

#[test]
fn on_paper_folds_are_open_colours_light_and_links_noted() {
    const FAULTS: &str = "
        dispatchEvent(new Event('beforeprint'));
        const faults = [];
        const count = selector => document.querySelectorAll(selector).length;
        const is = (what, seen, expected) => seen == expected || faults.push(what + ': ' + seen + ', and not ' + expected);
        is('closed folds', count('main details:not([open])'), 0);
        is('the paper', getComputedStyle(document.documentElement).backgroundColor, 'rgb(255, 255, 255)');
        is('notes', count('main .paper-note'), count('main a[href^=\"http\"]'));
        // One address is noted once in a chapter, and every chapter begins a page.
        const lists = [...document.querySelectorAll('main > .paper-notes')];
        for (const list of lists) {
            const next = list.nextElementSibling;
            is('what follows the notes', next ? next.style.breakBefore : 'page', 'page');
        }
        is('chapters with notes', lists.length > 9, true);
        for (const hidden of document.querySelectorAll('.skip, .symptom, .timeline-steps, #mdbook-menu-bar')) {
            is(hidden.className || hidden.id, hidden.getClientRects().length, 0);
        }
        return faults";
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    browser.medium("print");
    for theme in ["light", "rust", "coal", "navy", "ayu"] {
        browser.run(&format!("localStorage.setItem('mdbook-theme', '{theme}')"));
        browser.open(&book.address("print.html"));
        let faults = texts(&browser.run(FAULTS)).into_iter().chain(texts(&browser.run(CONTRAST)));
        none(&faults.map(|fault| format!("{theme}: {fault}")).collect::<Vec<_>>());
    }
}

#[test]
fn the_pdf_is_printed() {
    Book::serve();
    let file = book::pdf(&Checkout::here().path("book/book")).unwrap_or_else(|refusal| panic!("{refusal}"));
    let pdf = fs::read(&file).expect("the PDF");
    assert!(pdf.starts_with(b"%PDF-"), "{} is no PDF", file.display());
    assert!(pdf.len() > 1 << 20, "the pictures and the letters alone take more than {} bytes", pdf.len());
}
