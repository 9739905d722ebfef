//! A report as one HTML file: its data, a style and a program inside, nothing from a network.

use serde_json::Value;

const STYLE: &str = include_str!("report.css");
const COMMON: &str = include_str!("common.js");
const SWEEPS: &str = include_str!("sweeps.js");
const FOLDERS: &str = include_str!("folders.js");

/// The page called `title` that shows `data`, as [`super::data`] makes it.
pub fn page(title: &str, data: &Value) -> String {
    // Inside a script only `<` could end it; whatever names a file brings are text to the program.
    let holds = |name: &str| data[name].as_array().is_some_and(|list| !list.is_empty());
    let [sweeps, folders] =
        [("sweeps", SWEEPS), ("folders", FOLDERS)].map(|(name, part)| if holds(name) { part } else { "" });
    let data = data.to_string().replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<header><h1>{title}</h1><button id=\"theme\" type=\"button\">dark or light</button></header>
<noscript>This page draws its charts with a program inside it: allow scripts. The numbers are in the files of the folders that it was made from.</noscript>
<main></main>
<div id=\"folders\"></div>
<script type=\"application/json\" id=\"data\">{data}</script>
<script>
{COMMON}{sweeps}{folders}</script>
</body>
</html>
",
        title = escaped(title),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_holds_its_data_and_nothing_that_could_leave_it() {
        let data = json!({"sweeps": ["</script><b>"], "points": [], "folders": [{"name": "run"}]});
        let page = page("a <b> & \"c\"", &data);
        assert!(page.contains("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
        assert_eq!(page.matches("</script>").count(), 2);
        // Nothing from a network, and nothing may be fetched later.
        let is_fetched =
            ["src=", "<link", "@import", "url(", "fetch(", "https://"].iter().find(|word| page.contains(**word));
        assert_eq!(is_fetched, None);
        assert!(page.contains("default-src 'none'"));
        let inside = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), data);
    }
}
