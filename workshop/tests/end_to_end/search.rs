//! The search of the book, asked as a reader asks it: mdBook's own scripts, in a browser, with the index that was built.

use ghosts::{catalogue::ghosts::ALL, checkout::Checkout};

use crate::{
    browser::{Book, none, texts},
    webdriver::Browser,
};

/// What people search for, and the page that must come first.
const QUERIES: [(&str, &str); 47] = [
    ("504 but charged", "ignored-deadline"),
    ("connection pool exhausted", "leaked-permit"),
    ("wrong user under load", "closure-captured-state"),
    ("empty 200", "swallowed-panic"),
    ("CLOSE-WAIT", "unread-body"),
    ("SSE buffering", "hidden-flush"),
    ("stream arrives all at once", "hidden-flush"),
    ("keep-alive body not read", "unread-body"),
    ("connections pile up", "unread-body"),
    ("liveness vs readiness", "lying-health-check"),
    ("health check 200 database down", "lying-health-check"),
    ("poll_ready clone", "unready-clone"),
    ("deadlock", "leaked-permit"),
    ("connection leak", "leaked-permit"),
    ("double close", "body-double-close"),
    ("slot released twice", "body-double-close"),
    ("timeout but still running", "ignored-deadline"),
    ("spawn_blocking timeout", "ignored-deadline"),
    ("panic no log", "swallowed-panic"),
    ("request id mixed up", "closure-captured-state"),
    ("lock never released", "cancelled-cleanup"),
    ("async drop", "cancelled-cleanup"),
    ("bulkhead", "no-bulkhead"),
    ("ConcurrencyLimitLayer", "no-bulkhead"),
    ("noisy neighbour", "no-bulkhead"),
    ("goroutine leak", "orphan-task"),
    ("subscriptions are never given back", "orphan-task"),
    ("CORS preflight 401", "layer-order"),
    ("ServiceBuilder order reversed", "layer-order"),
    ("middleware in wrong order", "layer-order"),
    ("preflight refused without credentials", "layer-order"),
    ("graceful shutdown", "symptoms"),
    // None of these is in the table of words as it stands here.
    ("gzip stream hangs", "hidden-flush"),
    ("pool empty after errors", "leaked-permit"),
    ("kubernetes restarts all pods", "lying-health-check"),
    ("card charged twice", "ignored-deadline"),
    ("dropping a JoinHandle does not stop the task", "ignored-deadline"),
    ("handler panicked but status 200", "swallowed-panic"),
    ("upload slot taken twice", "body-double-close"),
    ("too many connections in CLOSE_WAIT", "unread-body"),
    ("concurrency limit panic", "unready-clone"),
    ("CORS error only on 401", "broken-chain"),
    ("gauge of requests in flight never goes down", "broken-chain"),
    ("span of the wrong request", "closure-captured-state"),
    ("code after await does not run", "cancelled-cleanup"),
    ("semaphore", "leaked-permit"),
    ("test with a paused clock", "laboratory"),
];

#[test]
fn what_people_search_for_leads_to_its_page_first() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    browser.press("/");
    assert!(browser.becomes("document.activeElement.id == 'mdbook-searchbar'"), "the key opens no search");
    let mut faults = Vec::new();
    for (query, page) in QUERIES {
        let first = first_hit(&browser, query);
        if !first.starts_with(&format!("{page}.html#")) || first.ends_with("#the-fix") {
            faults.push(format!("\"{query}\" leads to {first} first, and not to {page}.html"));
        }
    }
    none(&faults);
}

/// Where the first hit leads, without what mdBook adds to mark the words there.
fn first_hit(browser: &Browser, query: &str) -> String {
    browser.run(&format!(
        "const bar = document.getElementById('mdbook-searchbar');
         bar.value = {query:?};
         bar.dispatchEvent(new KeyboardEvent('keyup'))"
    ));
    let told = format!("document.getElementById('mdbook-searchresults-header').textContent.includes({query:?})");
    assert!(browser.becomes(&told), "nothing is said about \"{query}\"");
    let hit = browser.run(
        "const hit = document.querySelector('#mdbook-searchresults li > a');
         return hit ? hit.pathname.slice(1) + hit.hash : 'nothing'",
    );
    hit.as_str().expect("a text").to_owned()
}

#[test]
fn reports_and_generated_tables_are_not_searched() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    browser.press("/");
    assert!(browser.becomes("document.activeElement.id == 'mdbook-searchbar' && window.search.index"));
    let texts =
        texts(&browser.run("return Object.values(window.search.index.documentStore.docs).map(doc => doc.body)"));
    let mut faults = Vec::new();
    for slug in ALL.iter().map(|ghost| ghost.slug) {
        for file in ["broken.txt", "difference.diff", "near-misses.md", "promises.md", "seen.md"] {
            let text = match Checkout::here().text(&format!("book/src/generated/{slug}/{file}")) {
                Ok(text) => text,
                // Some ghosts were seen in no version of a crate.
                Err(_) if file == "seen.md" => continue,
                Err(refusal) => panic!("{refusal}"),
            };
            // The head of a difference, for its code is in the page too; the end of a report, and the last line of a table.
            let lines: Vec<&str> = text.lines().collect();
            let part = match file {
                "difference.diff" => &lines[..1],
                "broken.txt" => &lines[lines.len().saturating_sub(3)..],
                _ => &lines[lines.len().saturating_sub(1)..],
            };
            // mdBook joins the words of a page with single spaces.
            let words: Vec<_> = part.iter().flat_map(|line| line.split_whitespace()).collect();
            let longest =
                words.join(" ").split(['|', '`']).map(str::trim).max_by_key(|part| part.len()).map(str::to_owned);
            let part = longest.expect("a part");
            if texts.iter().any(|text| text.contains(&part)) {
                faults.push(format!("\"{part}\" of {slug}/{file} is searched"));
            }
        }
    }
    none(&faults);
    let rest = texts.iter().filter(|text| text.contains("in whose buffer is the line")).count();
    assert_eq!(rest, 1, "the pages themselves are searched");
}

#[test]
fn a_symptom_on_the_cover_leads_to_the_index_of_symptoms_and_to_its_chapter() {
    const ENTER: &str = "\u{e007}";
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    browser.run("document.getElementById('symptom').focus()");
    browser.press("empty 200");
    browser.press(ENTER);
    assert!(browser.becomes("location.pathname == '/symptoms.html'"), "the box leads nowhere");
    assert!(browser.becomes("document.querySelector('#mdbook-searchresults li > a')"), "nothing was searched for");
    let first = browser.run("return document.querySelector('#mdbook-searchresults li > a').pathname");
    assert_eq!(first, "/swallowed-panic.html");
}
