//! Whether the book can be translated by mdbook-i18n-helpers: every sentence that a person has written is one of its messages, and
//! nothing breaks when all of them change. Each is given a sign here, as if that were a language, and the book is built from it.
//! What is generated stays as it is: it's not for translating.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use ghosts::{checkout::Checkout, read::book};
use mdbook_driver::{MDBook, book::BookItem};
use mdbook_i18n_helpers::{extract_messages, gettext::translate_book};
use polib::{catalog::Catalog, message::Message, metadata::CatalogMetadata, po_file};

use crate::{
    browser::{Book, none, texts},
    webdriver::Browser,
};

/// What begins a sentence that is translated.
const SIGN: &str = "§";

/// Every message of the book's own text, with the places where it stands.
fn messages(book: &MDBook) -> BTreeMap<String, Vec<String>> {
    let mut messages = BTreeMap::<String, Vec<String>>::new();
    let mut add = |text: &str, file: &str| {
        for (line, found) in extract_messages(text).expect("Markdown") {
            messages.entry(found.message).or_default().push(format!("book/src/{file}:{line}"));
        }
    };
    for item in book.iter() {
        match item {
            BookItem::Chapter(chapter) => {
                add(&chapter.name, "SUMMARY.md");
                add(&chapter.content, &chapter.path.as_deref().unwrap_or(Path::new("")).to_string_lossy());
            }
            BookItem::PartTitle(title) => add(title, "SUMMARY.md"),
            BookItem::Separator => {}
        }
    }
    messages
}

/// A catalogue of the messages, as `translated` says them.
fn catalogue(messages: &BTreeMap<String, Vec<String>>, translated: impl Fn(&str) -> String) -> Catalog {
    let mut metadata = CatalogMetadata::new();
    metadata.content_type = "text/plain; charset=UTF-8".to_owned();
    let mut catalogue = Catalog::new(metadata);
    for (message, places) in messages {
        let mut entry = Message::build_singular();
        entry.with_source(places.join("\n")).with_msgid(message.clone()).with_msgstr(translated(message));
        catalogue.append_or_update(entry.done());
    }
    catalogue
}

#[test]
fn every_sentence_is_a_message_and_every_anchor_survives_translation() {
    const LOST: &str = "
        document.querySelectorAll('details').forEach(e => e.open = true);
        const own = e => [...e.childNodes].some(n => n.nodeType == 3 && /[a-z]{2}/i.test(n.textContent));
        const parts = 'h1, h2, h3, p, li, td, th, dt, dd, summary, label, button, figcaption';
        const blocks = [...document.querySelectorAll(parts.split(', ').map(part => 'main ' + part).join(', '))];
        const lost = blocks.filter(e => own(e) && !e.closest('pre, svg') && !e.textContent.includes('§'));
        return lost.map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 60))
            .concat([...document.querySelectorAll('[placeholder]')].filter(e => e.closest('main') && !e.placeholder.includes('§'))
                .map(e => 'the example ' + e.placeholder))";
    let here = Checkout::here();
    let mut translated = MDBook::load(here.path("book")).expect("the book");
    translated.book.for_each_chapter_mut(|chapter| chapter.content = book::own(&chapter.content));
    let messages = messages(&translated);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // This is what a translator begins with.
    po_file::write(&catalogue(&messages, |_| String::new()), &folder.join("messages.pot")).expect("a file");
    let signed = catalogue(&messages, |message| format!("{SIGN}{message}"));
    translate_book(&signed, &mut translated.book).expect("a translated book");
    let folder = folder.join("translated");
    translated.config.build.build_dir.clone_from(&folder);
    translated.build().expect("a built book");

    let browser = Browser::start();
    let (mut faults, mut ids, mut links) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let pages = fs::read_dir(&folder).expect("the built book").map(|file| file.expect("a file").path());
    let pages = pages.filter(|page| page.extension().is_some_and(|ending| ending == "html"));
    for page in pages.filter(|page| !["404.html", "toc.html", "print.html"].iter().any(|other| page.ends_with(other))) {
        let name = page.file_name().expect("a name").to_string_lossy().into_owned();
        browser.open(&format!("file://{}", page.display()));
        faults.extend(texts(&browser.run(LOST)).into_iter().map(|lost| format!("{name} loses {lost}")));
        ids.extend(texts(&browser.run(
            "const page = location.pathname.split('/').at(-1);
             return [...document.querySelectorAll('main [id]')].map(e => page + '#' + e.id)",
        )));
        links.extend(texts(&browser.run(
            "return [...document.querySelectorAll('main a[href*=\"#\"]:not(.header)')]
                 .filter(e => e.protocol == 'file:').map(e => e.pathname.split('/').at(-1) + decodeURI(e.hash))",
        )));
    }
    faults.extend(links.difference(&ids).map(|link| format!("a link leads to {link}, which has another name now")));
    none(&faults);
    assert!(links.len() > 2 && messages.len() > 900, "{} links, {} messages", links.len(), messages.len());
    println!("{} messages", messages.len());
}

#[test]
fn only_languages_that_are_there_can_be_chosen() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("go.html"));
    assert_eq!(browser.run("return document.querySelectorAll('.languages').length"), 0, "there is one language");
    // As if there were a second, below the first.
    let chosen = "chooseLanguage([...window.languages, { code: 'fr', name: 'Français', folder: 'fr' }]);
                  return [...document.querySelectorAll('.languages a')].map(e => e.textContent + ' ' + e.pathname + ' ' + e.lang)";
    assert_eq!(texts(&browser.run(chosen)), ["Français /fr/go.html fr"]);
    let back = "document.querySelector('.languages').remove();
                document.documentElement.lang = 'fr';
                history.replaceState(null, '', '/fr/go.html');
                chooseLanguage([...window.languages, { code: 'fr', name: 'Français', folder: 'fr' }]);
                return [...document.querySelectorAll('.languages a')].map(e => e.textContent + ' ' + e.pathname)";
    assert_eq!(texts(&browser.run(back)), ["English /go.html"]);
}
