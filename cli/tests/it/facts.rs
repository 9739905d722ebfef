//! `ofa schema` and `ofa cite`: what files hold, and whose numbers they are.

use serde_json::Value;

use crate::support::Sandbox;

#[test]
fn every_format_that_is_listed_has_a_schema() {
    let sandbox = Sandbox::new();
    let listed = sandbox.ok(&["schema", "--format", "json"]).json();
    assert!(listed.len() >= 14, "{listed:?}");
    for format in &listed {
        let name = format["name"].as_str().unwrap();
        let run = sandbox.ofa(&["schema", name]);
        if cfg!(feature = "torch") || run.code == 0 {
            let schema: Value = serde_json::from_str(&run.stdout).unwrap();
            assert!(schema["properties"].is_object() || schema["anyOf"].is_array(), "{name}: {schema}");
        } else {
            assert!(run.stderr.contains("LibTorch"), "{name}: {}", run.stderr);
        }
    }
    let table = sandbox.ok(&["schema"]).stdout;
    assert!(table.contains("ofa.sweep/1") && table.contains("preprocessing.json"), "{table}");
    let unknown = sandbox.ofa(&["schema", "recipes"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("recipe"), "{}", unknown.stderr);
}

#[test]
fn numbers_are_cited_with_source_licence_and_grade() {
    let sandbox = Sandbox::new();
    let cited = sandbox.ok(&["cite", "-t", "pixel3", "--supernet", "fbnet-cifar", "--format", "json"]).json();
    let [target, bundle] = &cited[..] else { panic!("{cited:?}") };
    assert_eq!((&target["kind"], &target["name"]), (&"target".into(), &"pixel3".into()));
    assert_eq!(target["licence"], "MIT (latencies), Apache-2.0 (power profile)");
    assert_eq!(target["numbers"][0]["grade"], "C");
    assert_eq!(target["papers"][0]["arxiv"], "2103.10584");
    assert!(bundle["source"].as_str().unwrap().contains("CIFAR-10"), "{bundle}");
    let words = sandbox.ok(&["cite", "--target", "jetson-tx2"]).stdout;
    for word in ["NVIDIA", "grade C", "HW-NAS-Bench (Li et al., ICLR 2021), arXiv:2103.10584", "MIT"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let all = sandbox.ok(&["cite", "--as", "bibtex"]).stdout;
    assert_eq!(all.matches("@misc{hwnasbench,").count(), 1, "{all}");
    assert!(all.contains("eprint = {2007.10319}"), "{all}");
    sandbox.refused(&["cite", "--target", "pixle3"], 2, &["pixle3", "pixel3"]);
}
