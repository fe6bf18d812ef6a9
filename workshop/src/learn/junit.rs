//! What came of a check as JUnit XML, for what shows test results.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lab::{Outcome as Verdict, hammer::Hammered};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::judged::{Interleavings, Judged, Outcome};

/// One promise, or what stands in for all of them.
struct Case<'a> {
    name: &'a str,
    /// `failure`, `error` or `skipped`, with the sentence and the text under it.
    wrong: Option<(&'static str, String, String)>,
}

/// The document, of a check that has ended now and took so long.
///
/// # Errors
/// If the text cannot be written as XML.
pub fn document(judged: &Judged, took: Duration) -> io::Result<String> {
    // A clock that stands before 1970 is no reason to stop.
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let begun = timestamp(ended.saturating_sub(took).as_secs());
    let cases = cases(judged);
    let count = |kind: &str| {
        let of_kind = cases.iter().filter(|case| case.wrong.as_ref().is_some_and(|(wrong, ..)| *wrong == kind));
        of_kind.count().to_string()
    };
    let counts = [
        ("name", judged.slug.clone()),
        ("timestamp", begun),
        ("time", format!("{:.3}", took.as_secs_f64())),
        ("tests", cases.len().to_string()),
        ("failures", count("failure")),
        ("errors", count("error")),
        ("skipped", count("skipped")),
    ];
    let counts = counts.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").write_inner_content(|writer| {
        writer
            .create_element("testsuite")
            .with_attributes(counts)
            .write_inner_content(|writer| cases.iter().try_for_each(|case| write(writer, &judged.slug, case)))?;
        Ok(())
    })?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

fn write(writer: &mut Writer<Vec<u8>>, slug: &str, case: &Case<'_>) -> io::Result<()> {
    let element = writer.create_element("testcase").with_attributes([("classname", slug), ("name", case.name)]);
    let Some((kind, sentence, text)) = &case.wrong else { return element.write_empty().map(drop) };
    let inner = |writer: &mut Writer<Vec<u8>>| {
        let element = writer.create_element(*kind).with_attribute(("message", plain(sentence).as_str()));
        element.write_text_content(BytesText::new(&plain(text))).map(drop)
    };
    element.write_inner_content(inner).map(drop)
}

fn cases(judged: &Judged) -> Vec<Case<'_>> {
    match &judged.outcome {
        Outcome::DoesNotCompile { errors } => {
            let errors = plain(errors);
            let first = errors.lines().next().unwrap_or_default().to_owned();
            vec![Case { name: "compiles", wrong: Some(("error", first, errors)) }]
        }
        Outcome::NotBuilt { sentence, said, .. } => {
            vec![Case { name: "can-be-built", wrong: Some(("error", sentence.clone(), said.clone())) }]
        }
        Outcome::EndedWithoutVerdict { how, said } => {
            vec![Case { name: "gives-a-verdict", wrong: Some(("error", how.clone(), said.clone())) }]
        }
        Outcome::Judged { report, interleavings, hammer, .. } => {
            let mut cases: Vec<Case<'_>> = report
                .promises
                .iter()
                .map(|judged| {
                    let observed = judged.observed.clone().unwrap_or_default();
                    let wrong = match judged.outcome {
                        Verdict::Kept => None,
                        Verdict::Broken => Some(("failure", observed, judged.promise.clone())),
                        Verdict::NotJudged => Some(("skipped", observed, judged.promise.clone())),
                    };
                    Case { name: &judged.key, wrong }
                })
                .collect();
            if let Some(interleavings) = interleavings {
                let wrong = match interleavings {
                    Interleavings::Hold { .. } => None,
                    Interleavings::Fail { table } => {
                        Some(("failure", "an interleaving breaks the model".to_owned(), table.clone()))
                    }
                    Interleavings::NotApplicable { why } => Some(("skipped", why.clone(), String::new())),
                };
                cases.push(Case { name: "interleavings", wrong });
            }
            if let Some(hammered) = hammer {
                let wrong = match hammered {
                    Hammered::Rejected { observed, .. } => Some(("failure", observed.clone(), hammered.to_string())),
                    // It is no test that was passed: nothing seen is no proof.
                    Hammered::NothingSeen { .. } => Some(("skipped", hammered.to_string(), String::new())),
                    Hammered::NotTried { why } => Some(("skipped", why.clone(), String::new())),
                };
                cases.push(Case { name: "races-on-real-threads", wrong });
            }
            cases
        }
    }
}

/// Text without what XML cannot hold: colours, other characters that control a terminal, and the two that are none.
fn plain(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    let is_held = |letter: &char| {
        ['\n', '\t'].contains(letter) || !letter.is_control() && !['\u{fffe}', '\u{ffff}'].contains(letter)
    };
    text.chars().filter(is_held).collect()
}

/// Seconds since the beginning of 1970 as ISO 8601, UTC, for instance `2026-11-30T03:12:00Z`.
fn timestamp(seconds: u64) -> String {
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::judged::Cause;

    #[test]
    fn a_moment_is_written_as_iso_8601() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_796_008_320, "2026-11-30T03:12:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn what_xml_forbids_is_left_out_and_the_times_are_there() {
        let said = "error: \u{1b}[31mno\u{fffe}\u{0}\u{ffff} & <no>\n".to_owned();
        let outcome = Outcome::NotBuilt { cause: Cause::DiskFull, sentence: "full\u{fffe}".to_owned(), said };
        let text = document(&Judged::new("hidden-flush", outcome), Duration::from_millis(1234)).expect("XML");
        let document = roxmltree::Document::parse(&text).expect("well-formed XML");
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).expect("a suite");
        assert_eq!((suite.attribute("time"), suite.attribute("errors")), (Some("1.234"), Some("1")));
        assert!(suite.attribute("timestamp").is_some_and(|moment| moment.ends_with('Z')), "{text}");
        let error = document.descendants().find(|node| node.has_tag_name("error")).expect("an error");
        assert_eq!((error.attribute("message"), error.text()), (Some("full"), Some("error: no & <no>\n")));
    }

    #[test]
    fn what_was_tried_is_no_test_that_was_passed() {
        let report = lab::Report { schema: 1, ghost: "hidden-flush".to_owned(), promises: Vec::new() };
        for (hammered, element) in [
            (Hammered::NothingSeen { tries: 7 }, "skipped"),
            (Hammered::NotTried { why: "no".to_owned() }, "skipped"),
            (Hammered::Rejected { observed: "twice".to_owned(), tries: 7 }, "failure"),
        ] {
            let outcome = Outcome::Judged {
                report: report.clone(),
                looks_like: Vec::new(),
                interleavings: None,
                hammer: Some(hammered),
                said: String::new(),
                warnings: Vec::new(),
            };
            let text = document(&Judged::new("hidden-flush", outcome), Duration::ZERO).expect("XML");
            let document = roxmltree::Document::parse(&text).expect("well-formed XML");
            assert_eq!(document.descendants().filter(|node| node.has_tag_name(element)).count(), 1, "{text}");
        }
    }
}
