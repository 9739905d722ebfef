//! `ofa report` of folders that are no sweeps.

use std::fs;
use std::path::Path;

use crate::support::Sandbox;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_bundle_and_a_search_are_shown_on_one_page() {
    let sandbox = Sandbox::new();
    let front = sandbox.path("front");
    let search = ["search", "--supernet", "mcu-cifar", "--target", "pixel3", "--objectives", "accuracy,energy"];
    sandbox.ok(&[&search[..], &["--evaluations", "2000", "--out", text(&front)]].concat());
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/zoo/mcu-cifar");
    let page = sandbox.path("page.html");
    sandbox.ok(&["report", text(&bundle), text(&front), "--out", text(&page)]);
    let html = fs::read_to_string(&page).unwrap();
    let data = html.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let [bundle_shown, front_shown] = &data["folders"].as_array().unwrap()[..] else { panic!("two folders") };
    assert_eq!((&bundle_shown["name"], &front_shown["name"]), (&"mcu-cifar".into(), &"front".into()));
    assert!(bundle_shown["calibration"]["pairs"].as_array().unwrap().len() > 100);
    let found = front_shown["found"].as_array().unwrap();
    let lines = fs::read_to_string(front.join("top.jsonl")).unwrap().lines().count();
    assert_eq!(found.len(), lines);
    assert!(found.iter().all(|one| one["energy_mJ"].as_f64().is_some() && one["top1"].as_f64().is_some()));
    assert!(front_shown["evaluations"].as_array().unwrap().len() > 1000);
    // Tables of what is in the page; nothing of a sweep, whose program stays out.
    let table = sandbox.ok(&["report", text(&bundle), text(&front), "--as", "md"]).stdout;
    assert!(table.contains("mcu-cifar, on test images:") && table.contains("front, found:"), "{table}");
    assert!(!html.contains("Where the numbers come from"));
}

#[test]
fn a_folder_without_results_is_refused() {
    let sandbox = Sandbox::new();
    let empty = sandbox.path("empty");
    fs::create_dir(&empty).unwrap();
    sandbox.refused(&["report", text(&empty)], 2, &["holds nothing that a report shows", "hint: name a folder of"]);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}
