//! A drill, played in Chromium. Needs the packages `chromium` and `chromium-driver`; `.ci/run` installs what is missing.

use std::{path::PathBuf, sync::Arc};

use drills::{Drill, Options, looks::Look, page};
use ghosts::{checkout::Checkout, read::serve};
use serde_json::{Value, json};

#[expect(dead_code, reason = "the book's suite prints and turns slides, too")]
#[path = "../../../workshop/tests/end_to_end/webdriver.rs"]
mod webdriver;

use webdriver::Browser;

/// A drill that runs ten times as fast as a clock, and the address of its page.
fn quick(slug: &str) -> (Arc<Drill>, String) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_drills"));
    let options = Options { seed: 5, slug: Some(slug.to_owned()), hard: true, speed: 10.0, program };
    let drill = Drill::begin(&Checkout::here(), &options).expect("a drill");
    let address = drill.runtime().block_on(async {
        let listener = serve::bind(0).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(page::serve(listener, drill.clone(), None));
        format!("http://{address}")
    });
    (drill, address)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn a_drill_is_played_to_its_end_by_keyboard_and_asks_nobody_else() {
    let (drill, address) = quick("leaked-permit");
    let browser = Browser::start();
    browser.open(&address);
    assert!(browser.becomes("document.querySelectorAll('#charts path.line').length > 20"), "no curve is drawn");
    assert!(browser.becomes("document.querySelectorAll('#charts rect.cell').length > 5"), "the heat map is empty");

    // What costs nothing: another service, and the filter of the log.
    assert!(browser.becomes("document.querySelectorAll('#log p').length > 3"), "the log is empty");
    browser.run("const filter = document.getElementById('filter'); filter.focus();");
    browser.press("stock");
    let only =
        "[...document.querySelectorAll('#log p')].every(line => line.textContent.toLowerCase().includes('stock'))";
    assert!(browser.becomes(&format!("document.querySelectorAll('#log p').length > 0 && {only}")), "the filter");
    browser.press(" of nobody");
    // A slow browser may be here after the first lines have dropped out.
    let none = r"/^(no line|none of the last \d+ lines) has it$/.test(document.getElementById('log').textContent)";
    assert!(browser.becomes(none), "nothing is found");
    assert_eq!(drill.bought().len(), 0);

    // What costs minutes, by the keyboard alone.
    let focus = |what: &str| browser.run(&format!("document.querySelector({}).focus()", json!(what)));
    browser.run("document.getElementById('looked').value = 'stock'");
    focus("#looks button[value=dependency]");
    browser.press("\u{e007}");
    assert!(browser.becomes("document.querySelectorAll('#shown pre').length === 1"), "the first look");
    browser.run("document.querySelector('#ask [name=path]').value = '/stock/cups'");
    focus("#ask [name=path]");
    browser.press("\u{e007}");
    assert!(browser.becomes("document.querySelectorAll('#shown pre').length === 2"), "the second look");
    let shown = browser.run("return document.querySelector('#shown pre').textContent");
    assert!(shown.as_str().is_some_and(|text| text.starts_with("GET /stock/cups\n")), "{shown}");
    assert!(drill.clock() > 180.0);
    // The drill runs ten times as fast as a clock, so its time may be over before a slow browser is here. What the page
    // says of the two clocks holds at any time.
    let told = "document.getElementById('limit').textContent";
    let limit = r"/^of 15:00(: the time is over)?, real \d\d:\d\d$/";
    assert!(browser.becomes(&format!("{limit}.test({told})")), "the other clock");
    for _ in 0..3 {
        drill.runtime().block_on(drill.look(&Look::Bundle { service: "stock".to_owned() })).expect("a look");
    }
    assert!(browser.becomes(&format!("{told}.startsWith('of 15:00: the time is over, real ')")), "the limit");

    let right = &drill.draw.haunted().drill;
    for (name, value) in [
        ("service", "stock"),
        ("ghost", "leaked-permit"),
        ("layer", &right.layer),
        ("first", "add instances"),
        ("fix", &right.fix),
    ] {
        let select = format!("document.querySelector('#answer [name={name}]')");
        browser.run(&format!("{select}.value = {}", json!(value)));
        assert_eq!(browser.run(&format!("return {select}.value")), json!(value));
    }
    focus("#answer button");
    browser.press("\u{e007}");
    assert!(browser.becomes("document.activeElement.id === 'grade'"), "the grade does not get the focus");
    let grade = browser.run("return document.getElementById('grade').textContent");
    let grade = grade.as_str().expect("text");
    assert!(grade.starts_with("It was leaked-permit, in stockThe leaked permit. 4 of 5 right"), "{grade}");
    let wrong = "wrong First: you said add instances; it was restart the instance";
    assert!(grade.contains(wrong) && grade.contains(&right.helps), "{grade}");
    for told in
        right.told.iter().map(String::as_str).chain(["waited 700 ms for the network", "book/src/leaked-permit.md"])
    {
        assert!(grade.contains(&told.replace('`', "")), "{told:?} is missing in {grade}");
    }

    for asked in browser.requests() {
        assert!(asked.starts_with(&address) || asked.starts_with("data:"), "the page asks for {asked}");
    }
    assert_eq!(browser.log("browser"), Vec::<Value>::new());
}

#[test]
fn the_pages_fit_a_telephone_in_light_and_dark_and_every_control_has_a_name() {
    let (_drill, address) = quick("ignored-deadline");
    let browser = Browser::start();
    for page in ["/", "/room"] {
        browser.open(&format!("{address}{page}"));
        assert!(
            browser.becomes("document.querySelectorAll('#charts path.line').length > 20"),
            "{page}: no curve is drawn"
        );
        for width in [1280_u32, 390] {
            browser.width(width);
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(wide.as_u64().is_some_and(|wide| wide <= width.into()), "{page} is {wide} wide, more than {width}");
        }
        let unnamed = "return [...document.querySelectorAll('input, select, button')].filter(control =>
            !control.textContent.trim() && !control.closest('label')).map(control => control.outerHTML)";
        assert_eq!(texts(&browser.run(unnamed)), Vec::<&str>::new(), "{page}");
        for scheme in ["light", "dark"] {
            let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            let body = json!({"cmd": "Emulation.setEmulatedMedia", "params": features});
            browser.call("/goog/cdp/execute", &body).expect("the colours are changed");
            let dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches");
            assert_eq!(dark, json!(scheme == "dark"));
            // Every text has four and a half times the contrast to what it stands on.
            let faint = texts(&browser.run(FAINT)).join("\n");
            assert_eq!(faint, "", "{page}, {scheme}");
        }
    }
}

/// The texts whose contrast is too small.
const FAINT: &str = r"
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return numbers(colour)[3] === 0 ? ground(element.parentElement) : numbers(colour);
    };
    const texts = [...document.querySelectorAll('body *')].filter((element) => !element.closest('svg, button:disabled, option')
        && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    return texts.filter((element) => {
        const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05) < 4.5;
    }).map((element) => element.outerHTML.slice(0, 120));";
