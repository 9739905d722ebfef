//! What a user sees, to the letter: results, talk and errors of twenty commands, kept in `snapshots/`.
//!
//! `INSTA_UPDATE=always cargo test --workspace screens` writes them anew; a change of layout then shows in the diff.

use crate::support::Sandbox;

/// Times differ from run to run, and folders from test to test.
const VARYING: [(&str, &str); 2] = [(r"\bin \d+\.\d s\b", "in [time] s"), (r"(/[\w.\-]+)+/\.tmp\w+", "[folder]")];

fn screen(args: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let run = sandbox.ofa(args);
    let code = if run.code == 0 { String::new() } else { format!("exit code {}\n", run.code) };
    let stderr = if run.stderr.is_empty() { String::new() } else { format!("--- stderr\n{}", run.stderr) };
    format!("$ ofa {}\n{}{stderr}{code}", args.join(" "), run.stdout)
}

/// What is found follows from predictions, whose last digits are a processor's own: the layout alone.
const FOUND: [(&str, &str); 3] = [(r"(k\d+ e\d+(, )?)+", "[blocks]"), (r"\d+(\.\d+)?", "#"), (r"[ ]{2,}", "  ")];

fn check(name: &str, args: &[&str]) {
    compare(name, args, &VARYING);
}

fn check_layout(name: &str, args: &[&str]) {
    compare(name, args, &[&VARYING[..], &FOUND[..]].concat());
}

fn compare(name: &str, args: &[&str], stand_ins: &[(&str, &str)]) {
    keep(name, stand_ins, || screen(args));
}

fn keep(name: &str, stand_ins: &[(&str, &str)], text: impl FnOnce() -> String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, stands_for) in stand_ins {
        settings.add_filter(pattern, *stands_for);
    }
    settings.bind(|| {
        let text = text();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(name, lines.join("\n"))
    });
}

#[test]
fn spaces() {
    check("space-list", &["space", "list"]);
    check("space-count", &["space", "count", "mcu-cifar"]);
    check("space-sample", &["space", "sample", "mcu-cifar", "-n", "2"]);
    check("space-unknown", &["space", "count", "mbv3-w1"]);
}

#[test]
fn targets() {
    check("target-list", &["target", "list"]);
    check("target-show-phone", &["target", "show", "pixel3"]);
    check("target-show-board", &["target", "show", "stm32l4r5"]);
    check("target-unknown", &["target", "show", "pixel33"]);
}

#[test]
fn searches() {
    let common = ["search", "--evaluations", "500", "--threads", "1"];
    let with = |more: &[&'static str]| [&common[..], more].concat();
    check_layout("search-energy", &with(&["--target", "pixel3", "--energy", "25mJ"]));
    check_layout("search-slack", &with(&["--supernet", "mcu-cifar", "--target", "pixel3", "--energy", "50mJ"]));
    check_layout("search-targets", &with(&["--targets", "pixel3,note10", "--latency", "20ms"]));
    check("search-infeasible", &with(&["--target", "pixel3", "--latency", "1us"]));
    check("search-no-unit", &with(&["--target", "pixel3", "--energy", "50"]));
    check("search-unknown-quantity", &with(&["--target", "v100", "--energy", "50mJ"]));
}

#[test]
fn networks() {
    check("network-from-unknown", &["network", "from", "resnet9", "--out", "x"]);
    check("accelerator", &["target", "energy", "--accelerator", "eyeriss", "absent.csv"]);
}

/// The long help of every verb, in one file: what a change does to it is seen in a diff.
#[test]
fn all_help() {
    let sandbox = Sandbox::new();
    let mut pages = String::new();
    let mut verbs = vec![Vec::new()];
    while let Some(verb) = verbs.pop() {
        let words: Vec<&str> = verb.iter().map(String::as_str).collect();
        let page = sandbox.ok(&[&words[..], &["-h"]].concat()).stdout;
        // Global options are the same everywhere.
        let (own, rest) = page.split_once("\nGlobal options:\n").unwrap();
        let (_, examples) = rest.split_once("\nExamples:\n").unwrap();
        pages += &format!("# ofa {}\n\n{own}\nExamples:\n{examples}\n", words.join(" "));
        let listed = own.split_once("Commands:\n").map_or("", |(_, listed)| listed);
        let below = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let below: Vec<&str> = below.filter_map(|line| line.split_whitespace().next()).collect();
        // The next one is taken from the end.
        verbs.extend(below.into_iter().rev().filter(|name| *name != "help").map(|name| {
            let mut below = verb.clone();
            below.push(name.to_owned());
            below
        }));
    }
    assert!(pages.matches("# ofa").count() > 45);
    keep("help-of-all-verbs", &[], || pages);
}

#[test]
fn words_on_the_way() {
    check("no-verb", &["serch"]);
    check("no-option", &["search", "--enery", "50mJ"]);
    check("help", &["-h"]);
    check("help-search", &["search", "-h"]);
    check("help-search-all", &["search", "--help"]);
}
