//! Targets of the user's own.

use std::fs;

use hw_targets::library::TargetLibrary;
use hw_targets::own::Existing;
use network::units::Measured;
use storage::failure::Failure;

use crate::support::refused;

const TABLE: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,\
    residual,latency_ms,batch\nconv,32,32,3,16,16,8,3,2,1,0,0,0,relu,0,0.5,8\n";

#[test]
fn own_targets_are_described_renamed_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let library = TargetLibrary::new(Some(home.path().to_path_buf()));
    let table = home.path().join("t.csv");
    fs::write(&table, TABLE).unwrap();
    library.check_free("board", Existing::Stays).unwrap();
    let kept = library.add(&table, "board", None).unwrap();
    assert_eq!(kept.batch(), 8, "its column says so");
    assert!(kept.explanation(Measured::Latency).unwrap().contains("per batch of 8"));
    let taken = library.check_free("board", Existing::Stays).unwrap_err();
    assert!(taken.to_string().contains("a table of 1 operators"), "{taken}");
    library.check_free("board", Existing::Replaced).unwrap();
    library.rename("board", "other").unwrap();
    assert!(library.find("board").is_err() && library.find("other").unwrap().batch() == 8);
    library.remove("other").unwrap();
    assert!(library.find("other").is_err());
    assert_eq!(library.remove("other").unwrap_err().kind().exit_code(), 2);
    assert_eq!(library.remove("pixel3").unwrap_err().kind().exit_code(), 2);
    fs::write(home.path().join("t.yaml"), "schema: ofa.table/1\nbatch: 1\n").unwrap();
    refused(library.add(&table, "board", None).map(|_| ()), &["batch", "8"]);
}
