//! Whether the book can be used without a mouse and with a screen reader: axe-core's rules, and what they do not ask. The
//! program comes from npm's registry, whichever is configured, in the version and with the digest of `axe/package-lock.json`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ghosts::checkout::Checkout;

use crate::{
    browser::{Book, none, texts},
    webdriver::{Browser, program},
};

const TAB: &str = "\u{e004}";
const RIGHT: &str = "\u{e014}";
const ENTER: &str = "\u{e007}";

/// The text of axe-core.
fn axe() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    fs::create_dir_all(&folder).expect("a folder");
    for name in ["package.json", "package-lock.json"] {
        let text = Checkout::here().text(&format!("workshop/tests/end_to_end/axe/{name}")).expect("our file");
        fs::write(folder.join(name), text).expect("a copy");
    }
    let npm: PathBuf = program("npm", "npm");
    let fetched = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"])
        .current_dir(&folder)
        .output()
        .expect("npm starts");
    assert!(fetched.status.success(), "npm cannot fetch axe-core: {}", String::from_utf8_lossy(&fetched.stderr));
    fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).expect("axe-core is there")
}

#[test]
fn axe_finds_nothing_serious_on_any_page_in_any_theme() {
    // A page is loaded once; mdBook's own buttons change its theme, at once and not bit by bit.
    const AT_ONCE: &str = "
        document.querySelectorAll('main details').forEach(e => e.open = true);
        document.head.append(Object.assign(document.createElement('style'), { textContent: '* { transition: none !important }' }))";
    const FINDINGS: &str = "
        const done = arguments[arguments.length - 1];
        document.getElementById('mdbook-theme-' + theme).click();
        axe.run({ resultTypes: ['violations'], ...asked }).then(found => done(found.violations
            .filter(rule => ['serious', 'critical'].includes(rule.impact))
            .map(rule => rule.id + ', ' + rule.nodes.length + ' times, first at ' + rule.nodes[0].html.slice(0, 120)
                + ': ' + rule.nodes[0].failureSummary)))";
    let (axe, book, browser) = (axe(), Book::serve(), Browser::start());
    let mut faults = Vec::new();
    // The page for the printer repeats all the others.
    for page in book.pages().into_iter().filter(|page| page != "print.html") {
        browser.open(&book.address(&page));
        browser.run(&axe);
        browser.run(AT_ONCE);
        for theme in ["light", "rust", "coal", "navy", "ayu"] {
            // The themes differ in their colours, and in nothing else.
            let asked = if theme == "light" { "{}" } else { "{ runOnly: ['color-contrast'] }" };
            let findings = format!("const theme = '{theme}', asked = {asked};{FINDINGS}");
            let found = texts(&browser.run_to_its_end(&findings));
            faults.extend(found.into_iter().map(|found| format!("{page} in {theme}: {found}")));
        }
    }
    none(&faults);
}

#[test]
fn the_first_key_leads_past_the_table_of_contents() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("hidden-flush.html"));
    browser.press(TAB);
    assert!(browser.becomes("document.activeElement.matches('.skip')"), "the first tab leads elsewhere");
    assert!(browser.becomes("document.activeElement.getBoundingClientRect().top >= 0"), "it is not seen");
    browser.press(ENTER);
    browser.press(TAB);
    assert!(browser.becomes("document.activeElement.closest('main')"), "the next tab is not in the text");
}

#[test]
fn what_scrolls_sideways_is_scrolled_by_keys() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.width(390);
    let (mut scrolling, mut faults) = (0, Vec::new());
    for page in book.pages().into_iter().filter(|page| page != "print.html") {
        browser.open(&book.address(&page));
        browser.run("document.querySelectorAll('details').forEach(e => e.open = true)");
        // The folds tell the script that they have opened a moment later.
        let found = browser.run_to_its_end(
            "const done = arguments[arguments.length - 1];
             requestAnimationFrame(() => setTimeout(() => {
                 const wide = [...document.querySelectorAll('main *')].filter(e =>
                     e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX));
                 done(wide.map(e => (e.tabIndex == 0 ? '' : e.tagName + ' ' + e.textContent.trim().slice(0, 50))));
             }))",
        );
        let found = texts(&found);
        scrolling += found.len();
        faults.extend(found.into_iter().filter(|wide| !wide.is_empty()).map(|wide| format!("{page}: {wide}")));
    }
    none(&faults);
    assert!(scrolling > 0);
    browser.open(&book.address("hidden-flush.html"));
    browser.run("document.querySelector('main > pre > code[tabindex=\"0\"]').focus()");
    browser.press(RIGHT);
    assert!(browser.becomes("document.activeElement.scrollLeft > 0"), "the key scrolls nothing");
    assert_eq!(browser.run("return location.pathname"), "/hidden-flush.html", "the key turned the page");
}
