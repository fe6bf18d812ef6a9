//! The picture of a ghost as one file of SVG, for pages that know nothing of the book's styles: the README.

use std::fmt::Write;

use crate::html::escaped;

/// Where the pictures of the twins stand: side by side, below their names.
const SIDE: u32 = 400;
const TOP: u32 = 34;
/// The margin, and the room for the line below.
const BOTTOM: u32 = 30;

/// Both sides of a picture of a chapter, with the styles that it needs, on white paper.
///
/// # Errors
/// If the picture or the styles are not as they were.
pub(super) fn poster(picture: &str, css: &str, said: &str) -> Result<String, String> {
    let sides: Vec<&str> = picture.split("<svg ").skip(1).filter_map(|rest| rest.split("</svg>").next()).collect();
    let names = picture.split("<figcaption>").skip(1).filter_map(|rest| rest.split("</figcaption>").next());
    let heights: Vec<u32> = sides.iter().filter_map(|side| height(side)).collect();
    let ([_, _], [left, right]) = (&sides[..], &heights[..]) else {
        return Err("the picture has not two sides".to_owned());
    };
    let below = TOP + left.max(right) + BOTTOM - 10;
    let (width, whole) = (2 * SIDE, TOP + left.max(right) + BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {whole}\" width=\"{width}\" height=\"{whole}\" \
         class=\"timelines timeline\">\n<style>\n{}</style>\n<rect width=\"{width}\" height=\"{whole}\" fill=\"#ffffff\"/>\n",
        styles(css)?
    );
    for (number, ((side, name), height)) in sides.iter().zip(names).zip(&heights).enumerate() {
        let x = u32::try_from(number).unwrap_or_default() * SIDE;
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"22\" text-anchor=\"middle\">{name}</text>\n\
             <svg x=\"{x}\" y=\"{TOP}\" width=\"390\" height=\"{height}\" {side}</svg>\n",
            x + SIDE / 2
        );
    }
    let _ = write!(
        svg,
        "<text class=\"time\" x=\"{SIDE}\" y=\"{below}\" text-anchor=\"middle\">{}</text>\n</svg>\n",
        escaped(said)
    );
    Ok(svg)
}

/// How high a side is, rounded up.
fn height(side: &str) -> Option<u32> {
    let view = side.split("viewBox=\"").nth(1)?.split('"').next()?;
    let height: f32 = view.rsplit(' ').next()?.parse().ok()?;
    Some(height.ceil() as u32)
}

/// The rules of a style sheet that a picture needs, and the colours of a light page.
fn styles(css: &str) -> Result<String, String> {
    let rules = css.split("}\n").map(|rule| rule.rsplit_once("*/").map_or(rule, |(_, rule)| rule).trim_start());
    let rules: Vec<(&str, &str)> = rules.filter_map(|rule| rule.split_once(" {\n")).collect();
    let colours = rules.iter().find(|(what, _)| *what == ".timelines").ok_or("the styles have no colours")?;
    let mut styles = format!("svg {{\n    --bg: #ffffff;\n    font: 13px sans-serif;\n{}}}\n", colours.1);
    for (what, rule) in rules.iter().filter(|(what, _)| what.starts_with(".timeline ") && !what.contains("to-come")) {
        let _ = write!(styles, "{what} {{\n{rule}}}\n");
    }
    Ok(styles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_needs_nothing_but_itself() {
        let picture = "<figcaption>one</figcaption>\n<svg viewBox=\"0 0 390 99.5\"><g/>\n</svg>\n\
                       <figcaption>two</figcaption>\n<svg viewBox=\"0 0 390 80\"><g/>\n</svg>\n";
        let css = "/* Text. */\n.timelines {\n    --ink: #000000;\n}\n\n.timeline text {\n    fill: var(--ink);\n}\n\n\
                   .see {\n    margin: 0;\n}\n";
        let svg = poster(picture, css, "a <key>").unwrap();
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        let style = parsed.descendants().find(|node| node.has_tag_name("style")).and_then(|node| node.text()).unwrap();
        assert_eq!(
            style,
            "\nsvg {\n    --bg: #ffffff;\n    font: 13px sans-serif;\n    --ink: #000000;\n}\n.timeline text {\n    fill: var(--ink);\n}\n"
        );
        assert_eq!(parsed.root_element().attribute("viewBox"), Some("0 0 800 164"));
        assert_eq!(poster("", css, ""), Err("the picture has not two sides".to_owned()));
    }
}
