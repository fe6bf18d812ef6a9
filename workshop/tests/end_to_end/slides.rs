//! The trainer's slides, turned by keys in a browser from the first to the last.

use std::{fs, path::Path, process::Command};

use ghosts::catalogue::ghosts::ALL;

use crate::{
    browser::{none, texts},
    webdriver::Browser,
};

const RIGHT: &str = "\u{e014}";
const LEFT: &str = "\u{e012}";

/// The slides of all ghosts, in a file.
fn written(name: &str) -> String {
    let printed = Command::new(env!("CARGO_BIN_EXE_ghosts")).args(["slides", "--all"]).output().expect("it starts");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, printed.stdout).expect("a file");
    format!("file://{}", file.display()).replace(' ', "%20")
}

#[test]
fn every_slide_is_turned_to_fits_the_screen_and_asks_for_nothing() {
    const FAULTS: &str = "
        const faults = [];
        const shown = slides.filter(slide => slide.getClientRects().length);
        if (shown.length != 1) return [shown.length + ' slides are shown'];
        const told = what => faults.push('slide ' + (at + 1) + ', ' + shown[0].querySelector('h1').textContent + ': ' + what);
        for (const e of [shown[0], ...shown[0].querySelectorAll('pre, p, figure')]) {
            if (e.scrollWidth > e.clientWidth + 1) told(e.tagName + ' is too wide');
        }
        if (shown[0].scrollHeight > shown[0].clientHeight) told('is too high');
        if (parseFloat(getComputedStyle(shown[0]).fontSize) < innerWidth / 90) told('has letters that nobody reads');
        if (!shown[0].querySelector('aside')) told('has no notes');
        return faults";
    let (slides, browser) = (written("slides.html"), Browser::start());
    browser.open(&slides);
    let all = browser.run("return slides.length").as_u64().expect("a number");
    assert!(all > 10 * ALL.len() as u64, "{all} slides");
    let mut faults = Vec::new();
    for at in 0..all {
        assert_eq!(browser.run("return at").as_u64(), Some(at), "a key turns one slide");
        faults.extend(texts(&browser.run(FAULTS)));
        browser.press(RIGHT);
    }
    assert_eq!(browser.run("return at").as_u64(), Some(all - 1), "the last slide stays");
    browser.press(LEFT);
    assert_eq!(browser.run("return at").as_u64(), Some(all - 2));
    faults.extend(browser.log("browser").iter().map(|line| format!("the console says {}", line["message"])));
    faults.extend(browser.requests().into_iter().filter(|asked| *asked != slides).map(|asked| format!("asks {asked}")));
    none(&faults);
}

#[test]
fn notes_follow_in_a_second_window() {
    let (slides, browser) = (written("slides-with-notes.html"), Browser::start());
    browser.open(&slides);
    browser.press(RIGHT);
    browser.press("n");
    assert!(browser.becomes("notes && notes.document.body.textContent.includes('Next: ')"), "no notes are opened");
    let told = || browser.run("return notes.document.body.textContent").as_str().expect("a text").to_owned();
    let (title, before) = (browser.run("return slides[1].querySelector('h1').textContent"), told());
    assert!(before.contains(title.as_str().expect("a title")) && before.contains("minutes; difficulty"), "{before}");
    // A key that is pressed there turns the slides too; here it is told to the window.
    browser.run("notes.document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }))");
    assert_eq!(browser.run("return at").as_u64(), Some(2));
    assert_ne!(told(), before, "the notes are those of the slide");
}
