//! What came of a check as JUnit XML, for what shows test results.

use std::io;

use lab::Outcome as Verdict;
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

/// The document.
///
/// # Errors
/// If the text cannot be written as XML.
pub fn document(judged: &Judged) -> io::Result<String> {
    let cases = cases(judged);
    let count = |kind: &str| {
        let of_kind = cases.iter().filter(|case| case.wrong.as_ref().is_some_and(|(wrong, ..)| *wrong == kind));
        of_kind.count().to_string()
    };
    let counts = [
        ("name", judged.slug.to_owned()),
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
            .write_inner_content(|writer| cases.iter().try_for_each(|case| write(writer, judged.slug, case)))?;
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
        let element = writer.create_element(*kind).with_attribute(("message", sentence.as_str()));
        element.write_text_content(BytesText::new(text)).map(drop)
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
        Outcome::EndedWithoutVerdict { how, said } => {
            vec![Case { name: "gives-a-verdict", wrong: Some(("error", how.clone(), plain(said))) }]
        }
        Outcome::Judged { report, interleavings, .. } => {
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
            cases
        }
    }
}

/// Text without what XML cannot hold: colours, and other characters that control a terminal.
fn plain(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    text.chars().filter(|letter| !letter.is_control() || ['\n', '\t'].contains(letter)).collect()
}
