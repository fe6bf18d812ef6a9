//! The book, as a reader's browser sees it. The pages are those that were built: a new chapter is read without a line here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{OnceLock, mpsc::channel},
    thread,
};

use ghosts::{
    catalogue::ghosts::ALL,
    checkout::Checkout,
    read::{book, serve},
};
use serde_json::Value;
use tokio::runtime;

use crate::webdriver::Browser;

/// The book, built and served once for all tests: to build it again takes the pages away from under their readers.
pub(crate) struct Book {
    base: &'static str,
}

impl Book {
    pub(crate) fn serve() -> Self {
        static BASE: OnceLock<String> = OnceLock::new();
        let base = BASE.get_or_init(|| {
            let built = book::build(&Checkout::here()).unwrap_or_else(|refusal| panic!("{refusal}"));
            let (told, address) = channel();
            thread::spawn(move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let listener = serve::bind(0).await.expect("a free port");
                    told.send(listener.local_addr().expect("a port")).expect("it waits");
                    serve::until(listener, book::router(built), std::future::pending()).await
                })
            });
            format!("http://{}", address.recv().expect("a port"))
        });
        Self { base }
    }

    /// The names of all pages that were built.
    pub(crate) fn pages(&self) -> Vec<String> {
        let files = fs::read_dir(Checkout::here().path("book/book")).expect("the built book");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        // The table of contents is a frame for browsers without scripts.
        let pages: BTreeSet<String> = names.filter(|name| name.ends_with(".html") && name != "toc.html").collect();
        assert!(pages.len() > 6, "{pages:?}");
        pages.into_iter().collect()
    }

    pub(crate) fn address(&self, page: &str) -> String {
        format!("{}/{page}", self.base)
    }
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}

/// Fails with all that is wrong with any page.
#[track_caller]
pub(crate) fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_page_loads_alone_and_every_link_and_anchor_leads_somewhere() {
    let (book, browser) = (Book::serve(), Browser::start());
    let (mut ids, mut links, mut faults) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for page in book.pages() {
        browser.open(&book.address(&page));
        assert!(browser.becomes("document.querySelector('#mdbook-sidebar a')"), "{page} has no table of contents");
        ids.insert(page.clone(), texts(&browser.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")));
        let found = browser.run("return [...document.querySelectorAll('a[href]')].map(e => e.href)");
        links.insert(page.clone(), texts(&found).into_iter().collect::<BTreeSet<_>>());
        for line in browser.log("browser") {
            faults.push(format!("{page}: the console says {}", line["message"]));
        }
        let foreign = |request: &String| !request.starts_with(book.base) && !request.starts_with("data:");
        faults.extend(
            browser
                .requests()
                .iter()
                .filter(|request| foreign(request))
                .map(|request| format!("{page} asks {request}")),
        );
    }
    let mut followed = 0;
    for (page, links) in &links {
        for link in links.iter().filter_map(|link| link.strip_prefix(&format!("{}/", book.base))) {
            followed += 1;
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if target.is_empty() { "index.html" } else { target };
            // mdBook serves this page below any path, so its own anchor leads to the first page.
            let anchor = if page == "404.html" { "" } else { anchor };
            match ids.get(target) {
                Some(ids) if anchor.is_empty() || ids.iter().any(|id| id == anchor) => {}
                Some(_) => faults.push(format!("{page} links to {target}#{anchor}, and there is no such anchor")),
                None => faults.push(format!("{page} links to {target}, and there is no such page")),
            }
        }
    }
    none(&faults);
    println!("{} pages, {followed} links", ids.len());
}

#[test]
fn every_picture_draws() {
    let (book, browser) = (Book::serve(), Browser::start());
    let (mut drawn, mut faults) = (0, Vec::new());
    for page in book.pages() {
        browser.open(&book.address(&page));
        let sizes = browser.run(
            "document.querySelectorAll('details').forEach(e => e.open = true);
             return [...document.querySelectorAll('main svg[role=img], main img')].map(e => {
                 const parts = e.tagName == 'IMG' ? [e] : [...e.querySelectorAll('text, path, rect, line, circle')];
                 const seen = parts.filter(p => { const r = p.getBoundingClientRect(); return r.width + r.height > 0; });
                 const box = e.getBoundingClientRect();
                 const told = e.tagName == 'IMG' ? e.alt.length : e.querySelectorAll('title, desc').length;
                 return [box.width, box.height, seen.length, told];
             })",
        );
        for size in sizes.as_array().into_iter().flatten() {
            drawn += 1;
            if size.as_array().into_iter().flatten().any(|number| number.as_f64() == Some(0.0)) {
                faults.push(format!("{page}: a picture's width, height, parts and titles are {size}"));
            }
        }
    }
    none(&faults);
    assert!(drawn > 0);
    println!("{drawn} pictures");
}

#[test]
fn a_picture_is_stepped_through() {
    const RIGHT: &str = "\u{e014}";
    const TO_COME: &str = "return document.querySelectorAll('.timelines .to-come').length";
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("hidden-flush.html"));
    let to_come = || browser.run(TO_COME).as_u64().expect("a number");
    assert_eq!(to_come(), 0, "at first the whole picture is there");
    browser.run("const [, next] = document.querySelectorAll('.timeline-steps button'); next.focus(); next.click()");
    let after_a_click = to_come();
    browser.press(RIGHT);
    let after_a_key = to_come();
    assert!(0 < after_a_key && after_a_key < after_a_click, "{after_a_click}, then {after_a_key}");
    assert_eq!(browser.run("return location.pathname").as_str(), Some("/hidden-flush.html"), "the key turned the page");
    browser.run("document.querySelectorAll('.timeline-steps button')[2].click()");
    assert_eq!(to_come(), 0);
}

#[test]
fn on_a_telephone_nothing_scrolls_sideways_but_code_and_wide_tables() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.width(360);
    let mut faults = Vec::new();
    for page in book.pages() {
        browser.open(&book.address(&page));
        let wide = browser.run(
            "document.querySelectorAll('details').forEach(e => e.open = true);
             const told = e => e.tagName + ' ' + e.className + ': ' + e.textContent.trim().slice(0, 60);
             // Four columns have no room for their words.
             const table = '.table-wrapper:has(tr > :nth-child(4))';
             const wide = [...document.querySelectorAll('main, main *')].filter(e => !e.closest('pre, svg, .wide-picture, ' + table)).filter(e =>
                 e.getBoundingClientRect().right > 360.5 ||
                 (e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)));
             const torn = [...document.querySelectorAll('main th')].filter(th => {
                 const texts = document.createTreeWalker(th, NodeFilter.SHOW_TEXT);
                 while (texts.nextNode()) {
                     for (const word of texts.currentNode.data.matchAll(/[a-z]+/gi)) {
                         const range = document.createRange();
                         range.setStart(texts.currentNode, word.index);
                         range.setEnd(texts.currentNode, word.index + word[0].length);
                         if (new Set([...range.getClientRects()].map(line => line.top)).size > 1) return true;
                     }
                 }
             });
             const page = document.scrollingElement.scrollWidth;
             return wide.concat(torn).map(told).concat(page > 360 ? ['the page is ' + page + ' pixels wide'] : [])",
        );
        faults.extend(texts(&wide).into_iter().map(|wide| format!("{page}: {wide}")));
    }
    none(&faults);
}

#[test]
fn every_theme_can_be_read() {
    let (book, browser) = (Book::serve(), Browser::start());
    let mut faults = Vec::new();
    browser.open(&book.address("index.html"));
    for theme in ["light", "rust", "coal", "navy", "ayu"] {
        browser.run(&format!("localStorage.setItem('mdbook-theme', '{theme}')"));
        for page in book.pages().into_iter().filter(|page| page != "print.html") {
            browser.open(&book.address(&page));
            let is = browser.run("return document.documentElement.className");
            assert!(is.as_str().unwrap_or_default().split_whitespace().any(|class| class == theme), "{page}: {is}");
            let pale = browser.run(CONTRAST);
            faults.extend(texts(&pale).into_iter().map(|pale| format!("{theme}, {page}: {pale}")));
        }
    }
    none(&faults);
}

/// The texts of a page, of its code and of its pictures, whose contrast to what is behind them is under 4.5, by WCAG's formula;
/// and the icons whose contrast is under 3. Those of the pictures' lines are reckoned where the pictures are made.
pub(crate) const CONTRAST: &str = "
    document.querySelectorAll('details').forEach(e => e.open = true);
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const luminance = colour => {
        const [r, g, b] = [...rgba(colour)].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [a, b] = [luminance(one), luminance(other)].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05);
    };
    const paper = e => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (rgba(colour)[3] == 255) return colour;
        }
        return 'white';
    };
    const behind = text => {
        const box = text.getBoundingClientRect();
        const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
        const over = [...text.ownerSVGElement.querySelectorAll('rect')].filter(rect => {
            const r = rect.getBoundingClientRect();
            const before = rect.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
            return before && r.left <= x && x <= r.right && r.top <= y && y <= r.bottom && rgba(getComputedStyle(rect).fill)[3] == 255;
        });
        return over.length ? getComputedStyle(over.at(-1)).fill : paper(text.ownerSVGElement.parentElement);
    };
    const written = e => [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
    const pale = [];
    for (const e of document.querySelectorAll('#mdbook-sidebar *, .page *')) {
        if (!written(e) || !e.getClientRects().length || ['title', 'desc', 'STYLE', 'SCRIPT'].includes(e.tagName)) continue;
        const drawn = e.closest('svg');
        const style = getComputedStyle(e);
        const ratio = drawn ? contrast(style.fill, behind(e.closest('text') || e)) : contrast(style.color, paper(e));
        if (ratio < 4.5) pale.push(ratio.toFixed(2) + ' ' + e.tagName + ' ' + e.textContent.trim().slice(0, 50));
    }
    for (const e of document.querySelectorAll('#mdbook-menu-bar svg')) {
        const ratio = contrast(getComputedStyle(e).fill, paper(e));
        if (ratio < 3 && e.getClientRects().length) pale.push(ratio.toFixed(2) + ' ' + e.closest('[title]').title);
    }
    return pale;";

#[test]
fn search_finds_flush() {
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    browser.press("/");
    assert!(browser.becomes("document.activeElement.id == 'mdbook-searchbar'"), "the key opens no search");
    browser.press("flush");
    assert!(browser.becomes("document.querySelectorAll('#mdbook-searchresults li').length > 1"), "nothing was found");
    let found = browser.run("return document.querySelector('#mdbook-searchresults').textContent.toLowerCase()");
    assert!(found.as_str().is_some_and(|found| found.contains("flush")), "{found}");
}

#[test]
fn arrow_keys_turn_every_page() {
    const LEFT: &str = "\u{e012}";
    const RIGHT: &str = "\u{e014}";
    let (book, browser) = (Book::serve(), Browser::start());
    browser.open(&book.address("index.html"));
    assert!(browser.becomes("document.querySelector('#mdbook-sidebar a')"));
    let pages = "return [...new Set([...document.querySelectorAll('#mdbook-sidebar a[href]')].map(e => e.pathname))]";
    let pages: Vec<String> = texts(&browser.run(pages)).into_iter().filter(|page| page != "/index.html").collect();
    for page in pages.iter().skip(1) {
        browser.press(RIGHT);
        assert!(
            browser.becomes(&format!("location.pathname == '{page}' && document.readyState == 'complete'")),
            "{page}"
        );
    }
    browser.press(LEFT);
    let before = &pages[pages.len() - 2];
    assert!(browser.becomes(&format!("location.pathname == '{before}'")), "{before}");
}

#[test]
fn answers_unfold() {
    let (book, browser) = (Book::serve(), Browser::start());
    let mut faults = Vec::new();
    // The page for the printer opens its folds by itself.
    for page in book.pages().into_iter().filter(|page| page != "print.html") {
        browser.open(&book.address(&page));
        let folds = browser.run(
            "return [...document.querySelectorAll('main details')].map(e => {
                 const before = e.getBoundingClientRect().height;
                 e.querySelector('summary').click();
                 return [e.open, e.getBoundingClientRect().height > before];
             })",
        );
        let folds = folds.as_array().cloned().unwrap_or_default();
        faults.extend(
            folds
                .iter()
                .filter(|fold| **fold != serde_json::json!([true, true]))
                .map(|fold| format!("{page}: a fold is open, and higher than before: {fold}")),
        );
        let chapter = ALL.iter().any(|ghost| page == format!("{}.html", ghost.slug));
        if chapter && folds.is_empty() {
            faults.push(format!("{page} folds no answer"));
        }
    }
    none(&faults);
}
